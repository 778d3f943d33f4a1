-- A shard is gone, and its memory is freed by another thread.
-- KEYS: all that it is kept in. ARGV[1]: '1': with its keys, '0': only if it has none.
-- Returns its last fencing token; nil: it has keys; 'gone': there is none.
local token = redis.call('HGET', K_META, 'token')
if not token then return 'gone' end
if ARGV[1] == '0' and redis.call('EXISTS', K_ROWS) == 1 then return false end
redis.call('UNLINK', unpack(KEYS))
return token
