-- { holder, limit, grantedBy } -> { revoked, more, grantedBy }
function operations.revokeLeases(operation)
  local revoked, grantedBy = 0, operation.grantedBy or now
  local from, to = '[' .. operation.holder .. '\0', '(' .. operation.holder .. '\1'
  local skipped = 0
  for _ = 1, operation.limit do
    local entry = redis.call('ZRANGEBYLEX', K_HOLDERS, from, to, 'LIMIT', skipped, 1)[1]
    if not entry then return { revoked = revoked, more = false, grantedBy = grantedBy } end
    local id = entry:sub(#operation.holder + 18)
    local granted = unpack_row(redis.call('HGET', K_ROWS, id))[GRANTED]
    if granted > grantedBy then
      -- Where tokens are reserved one is granted no earlier than its ms, but maybe after a later one.
      local token = tonumber(entry:sub(#operation.holder + 2, #operation.holder + 17))
      if not request.part or token >= (grantedBy + 1) * 1000 then
        return { revoked = revoked, more = false, grantedBy = grantedBy }
      end
      skipped = skipped + 1
    else
      -- Whoever looks at a key brings it up to date, and then the lease may be over.
      local row = find(id)
      if row and row[STATE] == LEASED then
        revoke(id, row)
        revoked = revoked + 1
      end
    end
  end
  return { revoked = revoked, more = true, grantedBy = grantedBy }
end
