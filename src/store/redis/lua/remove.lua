-- { id } -> { id }
function operations.remove(operation)
  local row = find(operation.id)
  if not row then return { code = 'key_not_found' } end
  end_key(operation.id, row, 'key_deleted')
  return { id = operation.id }
end
