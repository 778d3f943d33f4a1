-- The entry of a pool in place of the one that was read.
-- KEYS: pools, names. ARGV: name; the entry that was read, '' if there was none; the new one; how many there may be.
-- Returns 1; 0: it has changed; -1: there are too many.
local before = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if before ~= ARGV[2] then return 0 end
if before == '' and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then return -1 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('ZADD', KEYS[2], 0, ARGV[1])
return 1
