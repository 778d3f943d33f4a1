local function revoke(id, row)
  end_lease(row, 'revoked', now + policy.expiredLeaseCooldownMs)
  keep(id, row)
  changed('revoked', id, row)
end

-- { id } -> { id }
function operations.revoke(operation)
  local row = find(operation.id)
  if not row then return { code = 'key_not_found' } end
  if row[STATE] ~= LEASED then return { code = 'key_not_leased' } end
  revoke(operation.id, row)
  return { id = operation.id }
end
