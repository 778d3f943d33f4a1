-- A shard is gone, and its memory is freed by another thread.
-- KEYS: all that it is kept in. ARGV: '1': with its keys, '0': only if it has none; of a pool that is emptied, whose
-- history stays for as long as a record is kept: '1'; the instant, for tests (else ''); the uid of the one that was emptied
-- before it, or ''.
-- Returns its last fencing token; nil: it has keys; 'gone': there is none.
local token = redis.call('HGET', K_META, 'token')
if not token then return 'gone' end
if ARGV[1] == '0' and redis.call('EXISTS', K_ROWS) == 1 then return false end
local packed = ARGV[2] == '1' and redis.call('HGET', K_META, 'history')
local history = packed and cmsgpack.unpack(packed)
if not history or history[2] == 0 then
  redis.call('UNLINK', unpack(KEYS))
  return token
end
local time = redis.call('TIME')
local now = tonumber(ARGV[3]) or math.max(time[1] * 1000 + math.floor(time[2] / 1000), math.floor(token / 1000))
history[7], history[8] = now, tonumber(ARGV[4]) or false
for _, key in ipairs(KEYS) do
  if key ~= K_HISTORY and key ~= K_HISTORY_LAST then redis.call('UNLINK', key) end
end
redis.call('HSET', K_META, 'history', cmsgpack.pack(history))
for _, key in ipairs({ K_META, K_HISTORY, K_HISTORY_LAST }) do redis.call('PEXPIRE', key, history[2]) end
return token
