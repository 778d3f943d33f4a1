-- Keys looked at for one page; after that it is short.
local MAX_LOOKED = 2000

-- Living keys after a cursor, in the order of their ids, until `visit` answers false. Returns the cursor to go on from.
local function walk(cursor, visit)
  local from = cursor and '(' .. cursor or '-'
  for _ = 1, MAX_LOOKED / 200 do
    local ids = redis.call('ZRANGEBYLEX', K_INDEX, from, '+', 'LIMIT', 0, 200)
    for _, id in ipairs(ids) do
      local row = find(id)
      if row and not visit(id, row) then return id end
    end
    if #ids < 200 then return nil end
    from = '(' .. ids[#ids]
  end
  return from:sub(2)
end

-- { limit, state, cursor } -> { keys, nextCursor }
function operations.list(operation)
  if operation.badCursor then return { code = 'invalid_cursor' } end
  local keys = {}
  local cursor = walk(operation.cursor, function(id, row)
    if not operation.state or row[STATE] == operation.state then keys[#keys + 1] = key_of(id, row) end
    return #keys < operation.limit
  end)
  return { keys = keys, nextCursor = cursor or cjson.null }
end

-- By bytes, as the index is: Lua would ask the locale.
local function is_before(a, b)
  for place = 1, #a do
    local x, y = a:byte(place), b:byte(place)
    if x ~= y then return x < (y or 0) end
  end
  return false
end

-- { limit, holder, cursor } -> { heldLeases, nextCursor }
function operations.listLeases(operation)
  if operation.badCursor then return { code = 'invalid_cursor' } end
  local leases = {}
  local function visit(id, row)
    if row[STATE] == LEASED and (not operation.holder or row[HOLDER] == operation.holder) then
      leases[#leases + 1] = held_lease_of(id, row)
    end
    return #leases < operation.limit
  end
  if not operation.holder then
    local cursor = walk(operation.cursor, visit)
    return { heldLeases = leases, nextCursor = cursor or cjson.null }
  end
  local from, to = '[' .. operation.holder .. '\0', '(' .. operation.holder .. '\1'
  local ids = {}
  for _, entry in ipairs(redis.call('ZRANGEBYLEX', K_HOLDERS, from, to)) do
    local id = entry:sub(#operation.holder + 18)
    if not operation.cursor or is_before(operation.cursor, id) then ids[#ids + 1] = id end
  end
  table.sort(ids, is_before)
  for _, id in ipairs(ids) do
    local row = find(id)
    if row and not visit(id, row) then return { heldLeases = leases, nextCursor = id } end
  end
  return { heldLeases = leases, nextCursor = cjson.null }
end
