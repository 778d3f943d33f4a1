-- A key with a lifetime of its own gets that again, the others their pool's.
local function keep_alive(row)
  local lifetimeMs = policy.keyLifetimeMs
  if has(row, OWN_LIFETIME) then
    lifetimeMs = row[EXPIRES] == NEVER and cjson.null or row[EXPIRES] - row[KEPT]
  end
  row[KEPT], row[EXPIRES] = now, after(now, lifetimeMs)
end

-- { id or slot, token, secret, ttlMs, keepAlive } -> { lease }
function operations.renew(operation)
  local row, refused = find_lease(operation)
  if not row then return refused end
  if operation.ttlMs and operation.ttlMs > policy.maxLeaseTtlMs then return { code = 'ttl_too_long' } end
  local ttlMs = operation.ttlMs or row[TTL]
  local limit = after(row[GRANTED], policy.maxLeaseTotalMs)
  if now + ttlMs > limit and row[UNTIL] >= limit then return { code = 'lease_limit' } end
  row[UNTIL], row[TTL] = math.min(now + ttlMs, limit), ttlMs
  if operation.keepAlive then keep_alive(row) end
  keep(operation.id, row)
  changed('renewed', operation.id, row)
  return { lease = lease_of(operation.id, row) }
end
