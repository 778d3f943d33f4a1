-- Keeps a document, or has it gone, and says so to all servers.
-- KEYS: documents, meta of all. ARGV: name; the text, if it is kept. Returns how often documents have changed.
if ARGV[2] then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) else redis.call('HDEL', KEYS[1], ARGV[1]) end
return redis.call('HINCRBY', KEYS[2], 'documents', 1)
