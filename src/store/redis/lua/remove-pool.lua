-- The entry of a pool is gone, if it is still the one that was read.
-- KEYS: pools, names, meta of all. ARGV: name; the entry; the last fencing token of the pool.
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
end
local floor = tonumber(redis.call('HGET', KEYS[3], 'token') or 0)
if tonumber(ARGV[3]) > floor then redis.call('HSET', KEYS[3], 'token', ARGV[3]) end
return 1
