-- What is told of a key or a lease, as src/engine/views.ts says it. Null is never; instants are numbers of at most 14
-- digits, which JSON keeps here; tokens have more and go as text.
local function or_null(instant)
  return instant == NEVER and cjson.null or instant
end

local NO_DETAIL = { false, false, false, false, false }

-- Sealed value, its digest, name, metadata, reason of being disabled.
local function detail_of(id, row)
  if not has(row, DETAILED) then return NO_DETAIL end
  return cmsgpack.unpack(redis.call('HGET', K_DETAILS, id))
end

local function set_detail(id, row, detail)
  local any = detail[1] or detail[3] or detail[4] or detail[5]
  if any then redis.call('HSET', K_DETAILS, id, cmsgpack.pack(detail))
  elseif has(row, DETAILED) then redis.call('HDEL', K_DETAILS, id) end
  set_flag(row, DETAILED, any and true or false)
end

local function lease_of(id, row)
  local detail = detail_of(id, row)
  local moved = has(row, MOVED) and redis.call('HGET', K_MOVED, decimal(row[TOKEN]))
  return {
    id, decimal(row[TOKEN]), row[SECRET], row[HOLDER] or cjson.null, row[GRANTED], lease_end(row),
    or_null(row[EXPIRES]), detail[1] or cjson.null, detail[3] or cjson.null, detail[4] or cjson.null,
    moved and moved:sub(ID_LENGTH + 1) or nil,
  }
end

local function held_lease_of(id, row)
  return { id, decimal(row[TOKEN]), row[HOLDER] or cjson.null, row[GRANTED], lease_end(row) }
end

local function key_of(id, row)
  local detail = detail_of(id, row)
  return {
    id = id,
    name = detail[3] or cjson.null,
    metadata = detail[4] or cjson.null,
    hasValue = detail[1] ~= false,
    state = row[STATE],
    createdAt = row[CREATED],
    keepAliveAt = row[KEPT],
    expiresAt = or_null(row[EXPIRES]),
    disabled = has(row, DISABLED),
    disabledReason = detail[5] or cjson.null,
    failures = row[FAILURES],
    coolingUntil = rests(row) and row[UNTIL] or cjson.null,
    lease = row[STATE] == LEASED and held_lease_of(id, row) or cjson.null,
  }
end

-- Keys by state, and when the next becomes available; all that is due is settled.
local function pool_counts()
  local size = function(place) return redis.call('ZCARD', place) end
  local next_available = NEVER
  for _, place in ipairs({ K_LEASED, K_COOLING }) do
    local first = redis.call('ZRANGE', place, 0, 0, 'WITHSCORES')
    if first[2] then next_available = math.min(next_available, tonumber(first[2])) end
  end
  return {
    available = size(K_AVAILABLE),
    leased = size(K_LEASED) + size(K_LEASED_TO_THE_END),
    cooling = size(K_COOLING) + size(K_COOLING_TO_THE_END),
    disabled = size(K_DISABLED),
    nextAvailableAt = or_null(next_available),
  }
end
