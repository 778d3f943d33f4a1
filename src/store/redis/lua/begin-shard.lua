-- A shard whose keys come from another store: empty, with nothing of an earlier migration.
-- KEYS: all that it is kept in. ARGV: the migration; policy, the last fencing token: without them the shard is gone.
-- Returns 1; 0: a later migration to here has begun.
if tonumber(redis.call('HGET', K_META, 'copy') or 0) > tonumber(ARGV[1]) then return 0 end
redis.call('UNLINK', unpack(KEYS))
if not ARGV[2] then return 1 end
redis.call('HSET', K_META, 'copy', ARGV[1], 'version', 1, 'policy', ARGV[2], 'token', ARGV[3], 'moved', ARGV[3])
return 1
