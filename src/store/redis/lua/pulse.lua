-- What each server looks at every second, and leaves a sign there that it is at work, if there is room for one.
-- KEYS: meta of all, the channel of changes. Returns the time in ms, how often documents have changed, the format of the
-- data, and how many servers listen to the channel.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.pcall('HSET', KEYS[1], 'served', string.format('%.0f', now))
local meta = redis.call('HMGET', KEYS[1], 'documents', 'format')
local listeners = redis.pcall('PUBSUB', 'SHARDNUMSUB', KEYS[2])
return { now, tonumber(meta[1] or 0), tonumber(meta[2] or 0), listeners[2] or 0 }
