-- Why so many more keys do not fit, or UNSETTLED; nil if they do. Dead keys are no reason.
local function why_full(count)
  if count > policy.maxKeys then return { code = 'pool_full' } end
  if redis.call('HLEN', K_ROWS) + count <= policy.maxKeys then return nil end
  if not settle() then return UNSETTLED end
  if redis.call('HLEN', K_ROWS) + count <= policy.maxKeys then return nil end
  return { code = 'pool_full' }
end

-- What one command can be given; unpack takes no more than some thousands.
local ADDED_AT_ONCE = 1000

-- Into a sorted set, by one command for many, and in order: each finds its neighbours where the one before it has been.
local function add_in_order(key, score, ids)
  table.sort(ids)
  for from = 1, #ids, ADDED_AT_ONCE do
    local members = {}
    for at = from, math.min(from + ADDED_AT_ONCE - 1, #ids) do
      members[#members + 1] = score
      members[#members + 1] = ids[at]
    end
    redis.call('ZADD', key, unpack(members))
  end
end

-- New keys, [{ id, detail, lifetimeMs }]. Returns their ids.
local function add_keys(keys)
  local ids, sorted, by_score = {}, {}, {}
  for at, key in ipairs(keys) do ids[at], sorted[at] = key.id, key.id end
  add_in_order(K_INDEX, 0, sorted)
  for _, key in ipairs(keys) do
    local id, lifetimeMs, detail = key.id, key.lifetimeMs, key.detail
    local own = lifetimeMs ~= nil
    if not own then lifetimeMs = policy.keyLifetimeMs end
    local row = { now, now, after(now, lifetimeMs), 0, 0, 0, AVAILABLE, own and OWN_LIFETIME or 0, false }
    if detail then set_detail(id, row, detail) end
    redis.call('HSET', K_ROWS, id, cmsgpack.pack(row))
    local _, score = place_of(row)
    by_score[score] = by_score[score] or {}
    table.insert(by_score[score], id)
    changed('created', id, row)
  end
  for score, alike in pairs(by_score) do
    add_in_order(K_AVAILABLE, score, alike)
    earliest = math.min(earliest, score)
    freed = true
  end
  return ids
end

-- { ids, lifetimeMs } -> { keyIds }
function operations.create(operation)
  local refused = why_full(#operation.ids)
  if refused then return refused end
  local keys = {}
  for at, id in ipairs(operation.ids) do keys[at] = { id = id, lifetimeMs = operation.lifetimeMs } end
  return { keyIds = add_keys(keys) }
end
