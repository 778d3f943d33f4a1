-- Requests that were done, so that who repeats one gets its result: src/engine/idempotency.ts.
local REMEMBERED_MS = 600000
local MAX_RECORDS = 1000000

-- Of a result what it names, never what it said.
local function reference_to(result)
  if result.leases then
    local named = {}
    for index, lease in ipairs(result.leases) do named[index] = { lease[1], lease[2], lease[3] } end
    return { leases = named }
  end
  if result.lease then return { lease = { result.lease[1], result.lease[2], result.lease[3] } } end
  return { result = result }
end

local function as_of_now(reference)
  if reference.result then return reference.result end
  local leases, first = {}, nil
  for _, named in ipairs(reference.leases or { reference.lease }) do
    local row, refused = find_lease({ id = named[1], token = named[2], secret = named[3] })
    if row then leases[#leases + 1] = lease_of(named[1], row) end
    first = first or refused
  end
  if #leases == 0 then return first end
  return reference.lease and { lease = leases[1] } or { leases = leases }
end

-- { key, body } -> { results }; null: it is a new one
function operations.recall(operation)
  local packed = redis.call('HGET', K_REQUESTS, operation.key)
  local memory = packed and cjson.decode(packed)
  if not memory or memory.till <= now then
    if redis.call('HLEN', K_REQUESTS) < MAX_RECORDS then return { results = cjson.null } end
    return { code = 'idempotency_full' }
  end
  if memory.body ~= operation.body then return { code = 'idempotency_mismatch' } end
  local results = {}
  for index, reference in ipairs(memory.references) do results[index] = as_of_now(reference) end
  return { results = results }
end

-- { key, body, count } -> { remembered }
function operations.remember(operation, before)
  local references = {}
  for index = #before - operation.count + 1, #before do
    references[#references + 1] = reference_to(before[index])
  end
  if operation.count == 1 and before[#before].code then return { remembered = false } end
  local memory = { body = operation.body, till = now + REMEMBERED_MS, references = references }
  redis.call('HSET', K_REQUESTS, operation.key, cjson.encode(memory))
  redis.call('ZADD', K_REQUESTS_AT, memory.till, operation.key)
  return { remembered = true }
end

-- Requests to a pool of several shards, which no call does whole: src/store/redis/repeats.ts. { key, body, take } ->
-- { memory: what it came to, as text; null: it is a new one, and with `take` the caller's to do }
function operations.claim(operation)
  local packed = redis.call('HGET', K_REQUESTS, operation.key)
  local memory = packed and cjson.decode(packed)
  if memory and memory.till > now then
    if memory.body ~= operation.body then return { code = 'idempotency_mismatch' } end
    return memory.text and { memory = memory.text } or { code = 'request_in_progress' }
  end
  if redis.call('HLEN', K_REQUESTS) >= MAX_RECORDS then return { code = 'idempotency_full' } end
  if operation.take then operations.keep(operation) end
  return { memory = cjson.null }
end

-- { key, body, text: what it came to, nil while that is not known } -> { memory }
function operations.keep(operation)
  local memory = { body = operation.body, till = now + REMEMBERED_MS, text = operation.text }
  redis.call('HSET', K_REQUESTS, operation.key, cjson.encode(memory))
  redis.call('ZADD', K_REQUESTS_AT, memory.till, operation.key)
  return { memory = operation.text }
end

-- { key }: nothing came of it -> { memory }
function operations.forget(operation)
  redis.call('HDEL', K_REQUESTS, operation.key)
  redis.call('ZREM', K_REQUESTS_AT, operation.key)
  return { memory = cjson.null }
end
