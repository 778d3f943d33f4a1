-- Keeps a document, or has it gone, and says so to all servers.
-- KEYS: documents, meta of all. ARGV: name; the text, if it is kept; what it is to take the place of, '' for nothing, if
-- that matters. Returns how often documents have changed; nil: there is another one.
local before = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if ARGV[3] and ARGV[3] ~= before then return false end
if ARGV[2] then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) else redis.call('HDEL', KEYS[1], ARGV[1]) end
return redis.call('HINCRBY', KEYS[2], 'documents', 1)
