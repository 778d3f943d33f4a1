-- Who held which key when: by number a record of what a key was like after a change. What time does has none, for it
-- follows from the record before it: src/engine/history-entries.ts.
--
-- What is kept of it beside the policy, absent where none is kept: the version of the setting, for how many ms a record is
-- kept, and how many are; since when nothing is missing; the numbers of the first and the last one; and of a pool that
-- was emptied when that was, and which one was emptied before it.
local KEPT_MS, MOST, SINCE, FIRST, LAST, ENDED, BEFORE = 2, 3, 4, 5, 6, 7, 8
-- A record: the id, the number of the one before it of that key, and then as the caller is told.
local RECORD_ID, RECORD_BEFORE, RECORD_AT = 1, 2, 3
local BY_TIME = { lease_expired = true, key_expired = true }
local ENDS_LEASE = { released = true, unblocked = true, revoked = true }
local OF_LEASE = { leased = true, renewed = true, released = true, unblocked = true, revoked = true }
local recorded = 0

record = function(kind, id, row, detail)
  if BY_TIME[kind] then return end
  local leased = row[STATE] == LEASED
  local token = (leased or OF_LEASE[kind]) and row[TOKEN] or 0
  local holder = leased and row[HOLDER] or ENDS_LEASE[kind] and row.ended_holder or false
  local before = redis.call('HGET', K_HISTORY_LAST, id)
  recorded = recorded + 1
  history[LAST] = history[LAST] + 1
  local number = decimal(history[LAST])
  redis.call('HSET', K_HISTORY_LAST, id, number)
  redis.call('HSET', K_HISTORY, number, cmsgpack.pack({
    id, before and tonumber(before) or 0, now, kind, detail or '', leased, row[UNTIL], row[EXPIRES],
    token, holder, by or false,
  }))
end

-- The oldest go where there are too many, or are too old: so many at most.
local function drop_records(limit)
  while limit > 0 and history[FIRST] <= history[LAST] do
    local number = decimal(history[FIRST])
    local oldest = cmsgpack.unpack(redis.call('HGET', K_HISTORY, number))
    local fits = history[LAST] - history[FIRST] < history[MOST]
    if fits and oldest[RECORD_AT] >= now - history[KEPT_MS] then return end
    local id = oldest[RECORD_ID]
    redis.call('HDEL', K_HISTORY, number)
    if redis.call('HGET', K_HISTORY_LAST, id) == number then redis.call('HDEL', K_HISTORY_LAST, id) end
    history[SINCE] = math.max(history[SINCE], oldest[RECORD_AT] + 1)
    history[FIRST] = history[FIRST] + 1
    limit = limit - 1
  end
end

-- At the end of a call: each record takes up to two old ones with it.
local function save_history(more)
  if not history or history[ENDED] or recorded + more == 0 then return end
  drop_records(2 * recorded + more)
  redis.call('HSET', K_META, 'history', cmsgpack.pack(history))
end

-- { id, page: what is asked, number } -> { page, records, since, now, endedAt: of a pool that was emptied }, the latest
-- first and one more than the page has entries, or { code, before: the uid of the pool emptied before this one }
function operations.history(operation)
  if not history then return { code = 'history_off' } end
  local id = operation.id
  local last = id and redis.call('HGET', K_HISTORY_LAST, id)
  if not last and not find(id) then
    return { code = 'key_not_found', before = history[BEFORE] or nil }
  end
  if operation.badCursor then return { code = 'invalid_cursor' } end
  last = last and tonumber(last) or 0
  local number = operation.number or last
  local oldest = now - history[KEPT_MS]
  local page = {
    page = operation.page, now = now, since = math.max(history[SINCE], oldest), records = {},
    endedAt = number == last and history[ENDED] or nil,
  }
  if number > history[LAST] then return { code = 'invalid_cursor' } end
  while number >= history[FIRST] and #page.records < operation.page.limit + 2 do
    local found = cmsgpack.unpack(redis.call('HGET', K_HISTORY, decimal(number)))
    if found[RECORD_ID] ~= id then return { code = 'invalid_cursor' } end
    if found[RECORD_AT] < oldest then break end
    local before = found[RECORD_BEFORE]
    page.records[#page.records + 1] = {
      number, found[3], found[4], found[5], found[6], or_null(found[7]), or_null(found[8]),
      decimal(found[9]), found[10] or cjson.null, found[11] or cjson.null,
    }
    number = before
  end
  if #page.records == 0 and not operation.number and not find(id) then
    return { code = 'key_not_found', before = history[BEFORE] or nil }
  end
  return page
end
