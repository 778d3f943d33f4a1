-- A page of keys as they are written down, whatever time has done since. Nothing is changed.
-- ARGV[1]: { after: the key before, limit }. Returns as JSON [{ id, row, ownLifetime, disabled, detail, slot }], see
-- src/store/redis/copied-keys.ts; tokens as text, never as null, for JSON keeps 14 digits.
local from = request.after and '(' .. request.after or '-'
local keys = {}
for index, id in ipairs(redis.call('ZRANGEBYLEX', K_INDEX, from, '+', 'LIMIT', 0, request.limit)) do
  local row = cmsgpack.unpack(redis.call('HGET', K_ROWS, id))
  local moved = has(row, MOVED) and redis.call('HGET', K_MOVED, decimal(row[TOKEN]))
  keys[index] = {
    id = id,
    ownLifetime = has(row, OWN_LIFETIME),
    disabled = has(row, DISABLED),
    detail = detail_of(id, row),
    slot = moved and moved:sub(ID_LENGTH + 1) or nil,
  }
  row[EXPIRES], row[TOKEN] = or_null(row[EXPIRES]), decimal(row[TOKEN])
  keys[index].row = row
end
return cjson.encode(keys)
