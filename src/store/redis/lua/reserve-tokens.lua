-- Fencing tokens for a call to one of a pool's shards, from one counter for all, which its first shard has.
-- KEYS[1]: meta of the first shard. ARGV: how many; the instant, for tests (else '').
-- Returns the first; nil: the pool is gone.
local meta = redis.call('HMGET', KEYS[1], 'policy', 'reserved', 'token')
if not meta[1] then return false end
local time = redis.call('TIME')
local now = tonumber(ARGV[2]) or time[1] * 1000 + math.floor(time[2] / 1000)
local last = math.max(tonumber(meta[2] or 0), tonumber(meta[3] or 0))
local first = math.max(last + 1, now * 1000)
redis.call('HSET', KEYS[1], 'reserved', string.format('%.0f', first + ARGV[1] - 1))
return string.format('%.0f', first)
