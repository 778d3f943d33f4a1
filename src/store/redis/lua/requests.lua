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

-- Requests to a pool of several shards, each of which has one that says where it is: src/store/redis/repeats.ts.

-- { key } -> the record, nil where there is none
local function request_of(operation)
  local packed = redis.call('HGET', K_REQUESTS, operation.key)
  local memory = packed and cjson.decode(packed)
  return memory and memory.till > now and memory or nil
end

local function put_request(key, memory)
  memory.till = now + REMEMBERED_MS
  redis.call('HSET', K_REQUESTS, key, cjson.encode(memory))
  redis.call('ZADD', K_REQUESTS_AT, memory.till, key)
end

-- { key, body, take, shard, turn } -> { memory: what it came to, as text }, or { open: it is being done by the turn of that
-- number, in that shard }, or { memory: null }: it is a new one. With `take` a new one, or one whose last turn was `turn`,
-- is the caller's to do -> { turn }
function operations.claim(operation)
  local memory = request_of(operation)
  if memory and memory.body ~= operation.body then return { code = 'idempotency_mismatch' } end
  if memory and memory.text then return { memory = memory.text } end
  if memory and not memory.shard then return { code = 'request_in_progress' } end
  if memory and not (operation.take and memory.turn == operation.turn) then
    return { open = { shard = memory.shard, turn = memory.turn } }
  end
  if not memory and redis.call('HLEN', K_REQUESTS) >= MAX_RECORDS then return { code = 'idempotency_full' } end
  if not operation.take then return { memory = cjson.null } end
  local turn = memory and memory.turn + 1 or 1
  put_request(operation.key, { body = operation.body, shard = operation.shard, turn = turn })
  return { turn = turn }
end

-- { key, body, text: what it came to } -> { memory }
function operations.keep(operation)
  put_request(operation.key, { body = operation.body, text = operation.text })
  return { memory = operation.text }
end

-- { key, turn }: nothing came of it, nor will, unless another turn has begun -> { memory }
function operations.forget(operation)
  local memory = request_of(operation)
  if memory and memory.turn == operation.turn then
    redis.call('HDEL', K_REQUESTS, operation.key)
    redis.call('ZREM', K_REQUESTS_AT, operation.key)
  end
  return { memory = cjson.null }
end

-- { key, body }: of a turn, where it is done -> { results: what it came to }; null: nothing, and nothing will
function operations.conclude(operation)
  local memory = operations.recall(operation)
  if memory.code or memory.results ~= cjson.null then return memory end
  local nothing = { { result = { code = 'request_in_progress' } } }
  put_request(operation.key, { body = operation.body, references = nothing })
  return memory
end
