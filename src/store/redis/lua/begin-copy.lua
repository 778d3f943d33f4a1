-- A migration to here begins, or begins anew where an earlier one did not come to its end.
-- KEYS: meta of all, pools, names, documents. ARGV[1]: the format.
-- Returns its number and the entries of pools that are left of the earlier one; nil: there are data.
if redis.call('HEXISTS', KEYS[1], 'incoming') == 0 and redis.call('EXISTS', unpack(KEYS)) > 0 then return false end
redis.call('HSET', KEYS[1], 'format', ARGV[1])
-- Of a server that the earlier one met.
redis.call('HDEL', KEYS[1], 'served')
return { redis.call('HINCRBY', KEYS[1], 'incoming', 1), redis.call('HVALS', KEYS[2]) }
