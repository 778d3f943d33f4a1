-- { id } -> { key }
function operations.show(operation)
  local row = find(operation.id)
  if not row then return { code = 'key_not_found' } end
  return { key = key_of(operation.id, row) }
end

-- { id or slot, token, secret } -> { lease }
function operations.showLease(operation)
  local row, refused = find_lease(operation)
  return row and { lease = lease_of(operation.id, row) } or refused
end

-- -> { counts }
function operations.describe()
  if next_due() <= now and not settle() then return UNSETTLED end
  return { counts = pool_counts() }
end

-- For who asks all shards of a pool -> { look }
function operations.look()
  if next_due() <= now and not settle() then return UNSETTLED end
  local look = pool_counts()
  look.now, look.maxKeys, look.maxLeaseTtlMs = now, policy.maxKeys, policy.maxLeaseTtlMs
  return { look = look }
end

-- { digest, id }: of the key that has that value, or is plain and has that id -> { found }, its lease or null
function operations.find(operation)
  local id = redis.call('HGET', K_DIGESTS, operation.digest) or operation.id
  local row = find(id)
  local is_plain = row and id == operation.id and not detail_of(id, row)[1]
  local leased = row and (is_plain or id ~= operation.id) and row[STATE] == LEASED
  return { found = leased and held_lease_of(id, row) or cjson.null }
end
