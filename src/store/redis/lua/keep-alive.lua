-- { id } -> { id, expiresAt }
function operations.keepAlive(operation)
  local row = find(operation.id)
  if not row then return { code = 'key_not_found' } end
  keep_alive(row)
  keep(operation.id, row)
  changed('kept_alive', operation.id, row)
  return { id = operation.id, expiresAt = or_null(row[EXPIRES]) }
end
