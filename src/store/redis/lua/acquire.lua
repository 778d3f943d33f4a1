-- In a pool of several shards tokens are reserved, of one counter for all, before this call.
local function next_token()
  if not request.part then return math.max(lastToken + 1, now * 1000) end
  request.token = request.token + 1
  return request.token - 1
end

-- The key was granted after the tokens were reserved, and is free again: a token of it would fall.
local function is_overtaken(row)
  return request.part and row[TOKEN] >= request.token
end

local function grant(id, row, ttlMs, secret, holder)
  forget_moved(row)
  local token = next_token()
  lastToken = math.max(lastToken, token)
  row[STATE], row[TOKEN], row[REASON] = LEASED, token, false
  row[UNTIL] = math.min(now + ttlMs, after(now, policy.maxLeaseTotalMs))
  row[GRANTED], row[TTL], row[LOST] = now, ttlMs, policy.expiredLeaseCooldownMs
  row[SECRET], row[HOLDER] = secret, holder or false
  if holder then redis.call('ZADD', K_HOLDERS, 0, holder_entry(id, row)) end
  keep(id, row)
  changed('leased', id, row)
end

-- Why a settled pool gives no key: it has none that is available, or somebody goes first.
local function nothing_to_give()
  local all = pool_counts()
  local some = { leased = all.leased, cooling = all.cooling, disabled = all.disabled }
  if all.available + all.leased + all.cooling == 0 then return { code = 'pool_empty', counts = some } end
  local refusal = { code = 'pool_exhausted', counts = some }
  if all.nextAvailableAt ~= cjson.null then refusal.retryAfterMs = all.nextAvailableAt - now end
  return refusal
end

local function acquire_key(operation, ttlMs)
  local row = find(operation.id)
  if not row then return { code = 'key_not_found' } end
  if ttlMs > policy.maxLeaseTtlMs then return { code = 'ttl_too_long' } end
  if operation.count == 0 or row[STATE] ~= AVAILABLE or is_overtaken(row) then return { code = 'key_unavailable' } end
  if operation.leave > 0 then
    if not settle() then return UNSETTLED end
    if redis.call('ZCARD', K_AVAILABLE) <= operation.leave then return { code = 'key_unavailable' } end
    row = find(operation.id)
  end
  grant(operation.id, row, ttlMs, operation.secrets[1], operation.holder)
  return { leases = { lease_of(operation.id, row) } }
end

-- An available key by chance, a number in [0, 1): nil if there is none, or UNSETTLED. Where it hits a dead one, what is
-- left of the chance decides again, as long as it is fine enough.
local function draw(chance)
  local fineness = 1
  while true do
    local available = redis.call('ZCARD', K_AVAILABLE)
    if available == 0 then
      if next_due() > now then return nil end
      if not settle() then return UNSETTLED end
    else
      fineness = fineness * available
      if fineness > 2 ^ 40 then return UNSETTLED end
      chance = chance * available
      local rank = math.floor(chance)
      chance = chance - rank
      local id = redis.call('ZRANGE', K_AVAILABLE, rank, rank)[1]
      local row = find(id)
      if row then return id, row end
      budget = budget - 1
      if budget <= 0 then return UNSETTLED end
    end
  end
end

-- { count, ttlMs, id, holder, leave, secrets, chances, begun } -> { leases }. It may have begun in an earlier call,
-- whose leases nobody else knows of: then it is not refused any more.
function operations.acquire(operation)
  local ttlMs = operation.ttlMs or policy.leaseTtlMs
  if operation.named then return acquire_key(operation, ttlMs) end
  if not operation.begun and ttlMs > policy.maxLeaseTtlMs then return { code = 'ttl_too_long' } end
  local leases = {}
  local unsettled = false
  while #leases < operation.count do
    if operation.leave > 0 then
      if next_due() <= now and not settle() then unsettled = true; break end
      if redis.call('ZCARD', K_AVAILABLE) <= operation.leave then break end
    end
    local id, row = draw(operation.chances[#leases + 1])
    if id == UNSETTLED then unsettled = true; break end
    if not id or is_overtaken(row) then break end
    grant(id, row, ttlMs, operation.secrets[#leases + 1], operation.holder)
    leases[#leases + 1] = lease_of(id, row)
  end
  if operation.count == 0 and next_due() <= now and not settle() then unsettled = true end
  if unsettled then
    partial = leases
    return UNSETTLED
  end
  if #leases > 0 or operation.begun then return { leases = leases } end
  if next_due() <= now and not settle() then return UNSETTLED end
  return nothing_to_give()
end
