-- { id, lease: { id or slot, token, secret } } -> { id }
function operations.unblock(operation)
  local row = find(operation.id)
  if not row then return { code = 'key_not_found' } end
  if row[STATE] ~= LEASED then return { code = 'key_not_leased' } end
  local lease = operation.lease
  if lease and not (find_lease(lease) and lease.id == operation.id) then
    return { code = 'key_not_leased' }
  end
  end_lease(row, 'unblocked', now + policy.cooldownMs)
  keep(operation.id, row)
  changed('unblocked', operation.id, row)
  return { id = operation.id }
end
