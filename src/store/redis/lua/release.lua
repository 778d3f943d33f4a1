local function disable_for(id, row, reason)
  local detail = detail_of(id, row)
  set_detail(id, row, { detail[1], detail[2], detail[3], detail[4], reason })
end

-- { id or slot, token, secret, outcome, retryAfterMs, reason } -> { released, reason }
function operations.release(operation)
  local row, refused = find_lease(operation)
  if not row then
    if refused.code ~= 'lease_ended' then return refused end
    return { released = false, reason = refused.reason or 'unknown' }
  end
  local outcome, restMs = operation.outcome, 0
  if outcome == 'ok' then
    row[FAILURES] = 0
    restMs = policy.cooldownMs
  elseif outcome == 'invalid' then
    set_flag(row, DISABLED, true)
    if operation.reason then disable_for(operation.id, row, operation.reason) end
  else
    row[FAILURES] = math.min(row[FAILURES] + 1, MAX_FAILURES)
    local backoffMs = policy.failureCooldownMs * 2 ^ (row[FAILURES] - 1)
    restMs = operation.retryAfterMs or math.min(backoffMs, policy.maxFailureCooldownMs)
  end
  end_lease(row, 'released', now + restMs)
  keep(operation.id, row)
  changed('released', operation.id, row, outcome)
  return { released = true }
end
