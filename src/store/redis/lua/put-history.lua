-- What is asked of the history of all pools, in place of what was.
-- KEYS: meta of all. ARGV: for how many ms a record is kept, 0: not at all; how many are; the format of data that has one.
-- Returns it as text, with a version that rises; nil: there never was one.
local before = redis.call('HGET', KEYS[1], 'history')
local version, keptMs, most = 0, '0', nil
if before then version, keptMs, most = before:match('^(%d+) (%d+) (%d+)$') end
if keptMs == ARGV[1] and (keptMs == '0' or most == ARGV[2]) then return before end
local text = string.format('%d %s %s', version + 1, ARGV[1], ARGV[2])
redis.call('HSET', KEYS[1], 'history', text)
local format = tonumber(redis.call('HGET', KEYS[1], 'format') or 0)
if ARGV[1] ~= '0' and format < tonumber(ARGV[3]) then redis.call('HSET', KEYS[1], 'format', ARGV[3]) end
return text
