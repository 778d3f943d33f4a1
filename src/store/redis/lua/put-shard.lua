-- A shard's pool has a policy, unless it has a later one already.
-- KEYS[1]: meta. ARGV: 'new' or 'old'; version; policy; of a new one: what its fencing tokens are above.
-- Returns 0 where an old one is gone.
local version = redis.call('HGET', KEYS[1], 'version')
if not version and ARGV[1] == 'old' then return 0 end
if not version then redis.call('HSET', KEYS[1], 'token', ARGV[4]) end
if not version or tonumber(version) < tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], 'version', ARGV[2], 'policy', ARGV[3])
end
return 1
