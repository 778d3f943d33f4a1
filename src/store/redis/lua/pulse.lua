-- What each server looks at every second.
-- KEYS: meta of all. Returns the time in ms, how often documents have changed, and the format of the data.
local time = redis.call('TIME')
local meta = redis.call('HMGET', KEYS[1], 'documents', 'format')
return { time[1] * 1000 + math.floor(time[2] / 1000), tonumber(meta[1] or 0), tonumber(meta[2] or 0) }
