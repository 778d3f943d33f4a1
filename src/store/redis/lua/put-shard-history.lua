-- A shard's pool keeps a history as is asked of all, unless it was asked later already. It has it from now on.
-- KEYS: all that the shard is kept in. ARGV: version; ms; how many; the instant, for tests (else '').
local meta = redis.call('HMGET', K_META, 'policy', 'token', 'history')
if not meta[1] then return 0 end
local before = meta[3] and cmsgpack.unpack(meta[3])
local version, keptMs, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if before and before[1] >= version then return 1 end
local time = redis.call('TIME')
local now = tonumber(ARGV[4]) or math.max(time[1] * 1000 + math.floor(time[2] / 1000), math.floor(meta[2] / 1000))
local was_kept = before and before[2] > 0
local since, first, last = now, 1, 0
if was_kept then since, first, last = before[4], before[5], before[6] end
if keptMs == 0 then
  redis.call('UNLINK', K_HISTORY, K_HISTORY_LAST)
  first, last = 1, 0
end
redis.call('HSET', K_META, 'history', cmsgpack.pack({ version, keptMs, most, since, first, last }))
return 1
