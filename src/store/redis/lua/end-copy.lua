-- What came from another store is whole, and servers take it for that from now on.
-- KEYS: meta of all. ARGV[1]: the migration. Returns 1; 0: a later migration has begun; -1: a server was at work.
if redis.call('HGET', KEYS[1], 'incoming') ~= ARGV[1] then return 0 end
if redis.call('HEXISTS', KEYS[1], 'served') == 1 then return -1 end
redis.call('HDEL', KEYS[1], 'incoming')
return 1
