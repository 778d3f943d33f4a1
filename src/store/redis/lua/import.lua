-- { digests } -> { holders: [[index, id] of each value that a key has] }
function operations.holders(operation)
  local holders = {}
  for index, digest in ipairs(operation.digests) do
    local id = redis.call('HGET', K_DIGESTS, digest)
    if id and find(id) then holders[#holders + 1] = { index - 1, id } end
  end
  return { holders = holders }
end

-- { keys: [{ id, detail, lifetimeMs }], skip } -> { keyIds, skipped: [[index, id]] }
function operations.import(operation)
  local keys = operation.keys
  local firsts, fresh, holders = {}, {}, {}
  for index, key in ipairs(keys) do
    local digest = key.detail[2]
    local holder = redis.call('HGET', K_DIGESTS, digest)
    if holder and not find(holder) then holder = false end
    local first = firsts[digest]
    if not holder and not first then
      firsts[digest] = index
      fresh[#fresh + 1] = index
    elseif not operation.skip then
      local duplicate = { index = index - 1 }
      if first then duplicate.firstIndex = first - 1 else duplicate.id = holder end
      return { code = 'duplicate_value', duplicate = duplicate }
    end
    holders[index] = holder
  end
  local refused = why_full(#fresh)
  if refused then return refused end
  local added, skipped = {}, {}
  for at, index in ipairs(fresh) do
    local key = keys[index]
    redis.call('HSET', K_DIGESTS, key.detail[2], key.id)
    added[at] = key
  end
  local ids = add_keys(added)
  for index, key in ipairs(keys) do
    local first = firsts[key.detail[2]]
    if first ~= index then
      skipped[#skipped + 1] = { index - 1, holders[index] or keys[first].id }
    end
  end
  return { keyIds = ids, skipped = skipped }
end
