local DROPPED_A_SETTLING = 200

-- What is remembered of requests and of keys that are gone, and is over.
local function tidy()
  for _, pair in ipairs({ { K_REQUESTS_AT, K_REQUESTS, now }, { K_ENDED_AT, K_ENDED, now - REMEMBERED_MS } }) do
    local over = redis.call('ZRANGEBYSCORE', pair[1], '-inf', pair[3], 'LIMIT', 0, DROPPED_A_SETTLING)
    for _, name in ipairs(over) do
      redis.call('HDEL', pair[2], name)
      redis.call('ZREM', pair[1], name)
    end
  end
end

-- Where a request begins in a run that another server may do meanwhile, and where it ends.
local function requests_in(run, done)
  local ends = {}
  for at, operation in ipairs(run.operations) do
    if operation.once then ends[done + at - operation.count] = done + at end
  end
  return ends
end

-- What the request came to, if it was done; then nothing of it is done again.
local function recalled(results, from, to, operation)
  local memory = operations.recall(operation)
  if memory.results == cjson.null then return false end
  for at = from, to - 1 do results[at] = memory.code and memory or memory.results[at - from + 1] end
  results[to] = { remembered = false }
  return true
end

local token = lastToken
local answer = { now = now, results = {} }
for place, run in ipairs(request.runs) do
  local results = run.before or {}
  local done = #results
  answer.results[place] = results
  local requests = requests_in(run, done)
  while #results - done < #run.operations do
    local operation = run.operations[#results - done + 1]
    local last = requests[#results + 1]
    if operation.begun or not (last and recalled(results, #results + 1, last, run.operations[last - done])) then
      partial, by = nil, operation.by
      local result = operations[operation.op](operation, results)
      if result == UNSETTLED then
        answer.unsettled = answer.unsettled or {}
        answer.unsettled[#answer.unsettled + 1] = { place - 1, partial or {} }
        break
      end
      results[#results + 1] = result
    end
  end
end
if request.settle then
  settle()
  tidy()
  answer.nextDue = or_null(next_due())
end
save_history(request.settle and DROPPED_A_SETTLING or 0)
if lastToken ~= token then redis.call('HSET', K_META, 'token', decimal(lastToken)) end
if freed then
  answer.freed = true
  redis.call('SPUBLISH', K_AVAILABLE, '')
end
answer.earliest = or_null(earliest)
answer.counts = counts
if request.part then answer.available = redis.call('ZCARD', K_AVAILABLE) end
if #changes > 0 then answer.changes = changes end
return cjson.encode(answer)
