-- What is about all pools, of a store that is in the making.
-- KEYS: meta of all, pools, names, documents. ARGV: the migration; JSON { clear: whether nothing is to be left of an
-- earlier one, uid and token: the last that were given, pools and documents: [[name, text]] }.
-- Returns 1; 0: a later migration to here has begun.
if redis.call('HGET', KEYS[1], 'incoming') ~= ARGV[1] then return 0 end
local part = cjson.decode(ARGV[2])
if part.clear then redis.call('DEL', KEYS[2], KEYS[3], KEYS[4]) end
redis.call('HSET', KEYS[1], 'uid', part.uid, 'token', part.token, 'documents', 1)
for _, pool in ipairs(part.pools) do
  redis.call('HSET', KEYS[2], pool[1], pool[2])
  redis.call('ZADD', KEYS[3], 0, pool[1])
end
for _, document in ipairs(part.documents) do redis.call('HSET', KEYS[4], document[1], document[2]) end
return 1
