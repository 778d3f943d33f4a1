-- Keys that come from another store, in a shard that is in the making: src/store/redis/copy.ts.
-- ARGV[1]: { copy: the migration, keys: [{ id, row, ownLifetime, disabled, detail, slot }] }.
-- Returns 1; 0: a later migration to here has begun.
if redis.call('HGET', K_META, 'copy') ~= request.copy then return 0 end
for _, key in ipairs(request.keys) do
  local id, row, detail = key.id, key.row, key.detail
  set_flag(row, OWN_LIFETIME, key.ownLifetime)
  set_flag(row, DISABLED, key.disabled)
  set_detail(id, row, detail)
  if detail[2] then redis.call('HSET', K_DIGESTS, detail[2], id) end
  if row[HOLDER] then redis.call('ZADD', K_HOLDERS, 0, holder_entry(id, row)) end
  if key.slot then
    set_flag(row, MOVED, true)
    redis.call('HSET', K_MOVED, decimal(row[TOKEN]), id .. key.slot)
  end
  redis.call('ZADD', K_INDEX, 0, id)
  keep(id, row)
end
return 1
