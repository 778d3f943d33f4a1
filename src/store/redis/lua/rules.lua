-- What each event does to one key, as src/engine/transitions.ts says it. Both are judged by one suite.
--
-- A row is an array: when the key was made, last kept alive and dies; until when it is leased or rests; the fencing
-- token of its last lease; failures in a row; flags; how its last lease ended. A leased key has four more: when it was
-- granted, the TTL, the rest that follows if it is lost, the secret of the lease; and its holder, or false.
local CREATED, KEPT, EXPIRES, UNTIL, TOKEN, FAILURES, STATE, FLAGS, REASON = 1, 2, 3, 4, 5, 6, 7, 8, 9
local GRANTED, TTL, LOST, SECRET, HOLDER = 10, 11, 12, 13, 14
local DISABLED_STATE, COOLING, LEASED, AVAILABLE = 0, 1, 2, 3
local DISABLED, OWN_LIFETIME, DETAILED, MOVED = 1, 2, 4, 8 -- flags
local ID_LENGTH = 22
local NEVER = 2 ^ 48 - 1
local MAX_FAILURES = 255

local function has(row, flag)
  return row[FLAGS] % (2 * flag) >= flag
end

local function set_flag(row, flag, on)
  if has(row, flag) ~= on then row[FLAGS] = row[FLAGS] + (on and flag or -flag) end
end

local function after(from, durationMs)
  return durationMs == cjson.null and NEVER or from + durationMs
end

local function lease_end(row)
  return math.min(row[UNTIL], row[EXPIRES])
end

local function free_state(row)
  if has(row, DISABLED) then return DISABLED_STATE end
  return row[UNTIL] > now and COOLING or AVAILABLE
end

local function end_lease(row, reason, coolingUntil)
  row[REASON] = reason
  row[UNTIL] = coolingUntil
  row[STATE] = free_state(row)
end

local function rests(row)
  return row[STATE] ~= LEASED and row[UNTIL] > now
end

-- Zsets, one of which has each key, by what it is and what time will do to it next. Its score is when.
local function place_of(row)
  local state = row[STATE]
  if state == AVAILABLE then return K_AVAILABLE, row[EXPIRES] end
  if state == DISABLED_STATE then return K_DISABLED, row[EXPIRES] end
  local dies = row[EXPIRES] <= row[UNTIL]
  if state == LEASED then return dies and K_LEASED_TO_THE_END or K_LEASED, lease_end(row) end
  return dies and K_COOLING_TO_THE_END or K_COOLING, lease_end(row)
end

local record -- history.lua

local function changed(kind, id, row, detail)
  counts[kind] = (counts[kind] or 0) + 1
  if history then record(kind, id, row, detail) end
  if request.changes then changes[#changes + 1] = { kind, id, decimal(row[TOKEN]) } end
end

-- Its last lease was given by an embedded store, and has that one's id as long as this is not forgotten.
local function forget_moved(row)
  if not has(row, MOVED) then return end
  redis.call('HDEL', K_MOVED, decimal(row[TOKEN]))
  set_flag(row, MOVED, false)
end

local function holder_entry(id, row)
  return row[HOLDER] .. '\0' .. string.format('%016.0f', row[TOKEN]) .. id
end

local function unpack_row(packed)
  local row = cmsgpack.unpack(packed)
  row.place, row.score = place_of(row)
  row.state = row[STATE]
  return row
end

local function keep(id, row)
  local place, score = place_of(row)
  if row.state == LEASED and row[STATE] ~= LEASED then
    if row[HOLDER] then redis.call('ZREM', K_HOLDERS, holder_entry(id, row)) end
    row.ended_holder = row[HOLDER]
    for field = GRANTED, HOLDER do row[field] = nil end
  end
  redis.call('HSET', K_ROWS, id, cmsgpack.pack({ unpack(row) }))
  if place ~= row.place then
    if row.place then redis.call('ZREM', row.place, id) end
    if place == K_AVAILABLE then freed = true end
  end
  if place ~= row.place or score ~= row.score then
    redis.call('ZADD', place, score, id)
    if score < earliest then earliest = score end
  end
  row.place, row.score, row.state = place, score, row[STATE]
end

-- What time has done to a living key by that instant.
local function lapse(id, row, instant)
  if row[UNTIL] > instant then return false end
  if row[STATE] == LEASED then
    end_lease(row, 'expired', row[UNTIL] + row[LOST])
    changed('lease_expired', id, row)
    return true
  end
  if row[STATE] == COOLING then
    row[STATE] = AVAILABLE
    return true
  end
  return false
end

-- Its death or deletion. How its last lease ended can be asked for a while yet.
local function end_key(id, row, reason)
  if reason == 'key_expired' then lapse(id, row, row[EXPIRES] - 1) end
  if row[STATE] == LEASED then row[REASON] = reason end
  changed(reason == 'key_expired' and 'key_expired' or 'deleted', id, row)
  if row.state == LEASED and row[HOLDER] then
    redis.call('ZREM', K_HOLDERS, holder_entry(id, row))
  end
  if has(row, DETAILED) then
    local detail = cmsgpack.unpack(redis.call('HGET', K_DETAILS, id))
    if detail[2] then redis.call('HDEL', K_DIGESTS, detail[2]) end
    redis.call('HDEL', K_DETAILS, id)
  end
  forget_moved(row)
  redis.call('HDEL', K_ROWS, id)
  redis.call('ZREM', row.place, id)
  redis.call('ZREM', K_INDEX, id)
  if row[TOKEN] > 0 then
    redis.call('HSET', K_ENDED, id, cmsgpack.pack({ row[TOKEN], row[REASON] }))
    redis.call('ZADD', K_ENDED_AT, now, id)
  end
end

-- The living key with that id, up to date; nil if there is none.
local function find(id)
  local packed = id and redis.call('HGET', K_ROWS, id)
  if not packed then return nil end
  local row = unpack_row(packed)
  if row[EXPIRES] <= now then
    end_key(id, row, 'key_expired')
    return nil
  end
  if lapse(id, row, now) then keep(id, row) end
  return row
end

local function ended(reason)
  return { code = 'lease_ended', reason = reason or nil }
end

-- The key that a lease holds, { id, token, secret }; else nil, and why it holds none. One that an embedded store gave
-- names a slot in place of the key, and has its id from then on.
local function find_lease(lease)
  local token, secret = tonumber(lease.token), lease.secret
  if lease.slot then
    local moved = redis.call('HGET', K_MOVED, lease.token)
    if not moved or moved:sub(ID_LENGTH + 1) ~= lease.slot then
      local last = tonumber(redis.call('HGET', K_META, 'moved') or 0)
      return nil, token <= last and ended() or { code = 'lease_not_found' }
    end
    lease.id = moved:sub(1, ID_LENGTH)
  end
  local id = lease.id
  if not id then return nil, { code = 'lease_not_found' } end
  local row = find(id)
  local last, reason
  if row then
    last, reason = row[TOKEN], row[REASON]
    if token == last and row[STATE] == LEASED then
      if row[SECRET] == secret then return row end
      return nil, { code = 'lease_not_found' }
    end
  else
    local packed = redis.call('HGET', K_ENDED, id)
    if not packed then
      return nil, token <= lastToken and ended() or { code = 'lease_not_found' }
    end
    local left = cmsgpack.unpack(packed)
    last, reason = left[1], left[2]
  end
  if token > last then return nil, { code = 'lease_not_found' } end
  return nil, token == last and ended(reason) or ended()
end

local DUE_PLACES = {
  K_AVAILABLE, K_DISABLED, K_LEASED, K_LEASED_TO_THE_END, K_COOLING, K_COOLING_TO_THE_END,
}

local function next_due()
  local due = NEVER
  for _, place in ipairs(DUE_PLACES) do
    local first = redis.call('ZRANGE', place, 0, 0, 'WITHSCORES')
    if first[2] then due = math.min(due, tonumber(first[2])) end
  end
  return due
end

-- Does what is due, as far as this call's budget goes. False: there is more.
local function settle()
  if budget <= 0 then return next_due() > now end
  for _, place in ipairs(DUE_PLACES) do
    local due = redis.call('ZRANGEBYSCORE', place, '-inf', now, 'LIMIT', 0, budget)
    for _, id in ipairs(due) do find(id) end
    budget = budget - #due
    if budget <= 0 then return next_due() > now end
  end
  -- The rest after a lost lease may be over too.
  return next_due() > now or settle()
end
