-- Why so many more keys do not fit, or UNSETTLED; nil if they do. Dead keys are no reason.
local function why_full(count)
  if count > policy.maxKeys then return { code = 'pool_full' } end
  if redis.call('HLEN', K_ROWS) + count <= policy.maxKeys then return nil end
  if not settle() then return UNSETTLED end
  if redis.call('HLEN', K_ROWS) + count <= policy.maxKeys then return nil end
  return { code = 'pool_full' }
end

local function add_key(id, lifetimeMs, detail)
  local own = lifetimeMs ~= nil
  if not own then lifetimeMs = policy.keyLifetimeMs end
  local row = { now, now, after(now, lifetimeMs), 0, 0, 0, AVAILABLE, own and OWN_LIFETIME or 0, false }
  if detail then set_detail(id, row, detail) end
  redis.call('ZADD', K_INDEX, 0, id)
  keep(id, row)
  changed('created', id, row)
end

-- { ids, lifetimeMs } -> { keyIds }
function operations.create(operation)
  local refused = why_full(#operation.ids)
  if refused then return refused end
  for _, id in ipairs(operation.ids) do add_key(id, operation.lifetimeMs) end
  return { keyIds = operation.ids }
end
