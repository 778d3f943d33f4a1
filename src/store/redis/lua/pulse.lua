-- What each server looks at every second, and leaves a sign there that it is at work, if there is room for one.
-- KEYS: meta of all. Returns the time in ms, how often documents have changed, and the format of the data.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.pcall('HSET', KEYS[1], 'served', string.format('%.0f', now))
local meta = redis.call('HMGET', KEYS[1], 'documents', 'format')
return { now, tonumber(meta[1] or 0), tonumber(meta[2] or 0) }
