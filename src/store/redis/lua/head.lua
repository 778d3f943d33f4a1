-- One call: operations on one shard of a pool, done in order, of several callers. What follows are the rules, a file
-- each, and what does them.
--
-- KEYS: all that the shard is kept in, see src/store/redis/layout.ts.
-- ARGV[1]: { now: the instant, for tests (else this server's clock), changes: whether they are to be told,
--   budget: keys that may be settled, part: it is one of several shards, token: of those the first fencing token that
--   may be given, of as many as leases are asked for, past: of a pool that was emptied only its history is asked, runs: [{ before: results of an earlier call, operations }] }, as JSON.
-- Returns as JSON { stale: true } where the pool is gone, or { now, results: [[...] of each run], unsettled: [run, leases
--   that its acquire has got], nextDue: where asked for, earliest: what falls due first of what was changed, freed,
--   counts: changes by kind, changes, available: of one of several shards, how many keys are }.
local request = cjson.decode(ARGV[1])
local meta = redis.call('HMGET', K_META, 'policy', 'token', 'history')
if not meta[1] and not (request.past and meta[3]) then return '{"stale":true}' end
local policy = meta[1] and cjson.decode(meta[1])
local lastToken = tonumber(meta[2]) or 0
local history = meta[3] and cmsgpack.unpack(meta[3])
if history and history[2] == 0 then history = nil end
local now = request.now
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
  -- It is not earlier than the last grant: the clock may have been set back, or be another one's.
  now = math.max(now, math.floor(math.max(lastToken, request.token or 0) / 1000))
end
local budget = request.budget
local UNSETTLED = 'unsettled'
local operations, counts, changes = {}, {}, {}
local partial, freed, earliest = nil, false, 2 ^ 48 - 1
-- Who asks for the operation, by the name of his access token.
local by

local function decimal(number)
  return string.format('%.0f', number)
end
