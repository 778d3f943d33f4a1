-- { id, disabled, reason, endCooldown, name, metadata } -> { key }. Null takes a name or metadata away.
function operations.update(operation)
  local id = operation.id
  local row = find(id)
  if not row then return { code = 'key_not_found' } end
  local leased = row[STATE] == LEASED
  if operation.disabled == true then
    set_flag(row, DISABLED, true)
    if not leased then row[STATE] = DISABLED_STATE end
  elseif operation.disabled == false then
    set_flag(row, DISABLED, false)
    row[FAILURES] = 0
    if not leased then row[STATE] = free_state(row) end
  end
  if operation.endCooldown and not leased then
    row[UNTIL] = 0
    row[STATE] = free_state(row)
  end
  local detail = { unpack(detail_of(id, row), 1, 5) }
  if operation.disabled == true and operation.reason then detail[5] = operation.reason end
  if operation.disabled == false then detail[5] = false end
  if operation.name ~= nil then detail[3] = operation.name ~= cjson.null and operation.name end
  if operation.metadata ~= nil then detail[4] = operation.metadata ~= cjson.null and operation.metadata end
  set_detail(id, row, detail)
  keep(id, row)
  changed('updated', id, row, operation.disabled ~= nil and (operation.disabled and 'disabled' or 'enabled') or '')
  return { key = key_of(id, row) }
end
