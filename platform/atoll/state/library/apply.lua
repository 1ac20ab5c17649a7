-- Operations of other actors.

local function is_stamp(text)
  return type(text) == 'string' and #text == 16 and not find(text, '[^0-9a-f]')
end

local function is_number(value)
  return type(value) == 'number' and value >= 0 and value == floor(value)
end

local function is_text(value)
  return type(value) == 'string'
end

local function is_dot(value)
  return type(value) == 'string' and find(value, '^.+:%d+$') ~= nil
end

local function is_vector(value)
  if type(value) ~= 'table' then return false end
  for actor, seq in next, value do
    if not (is_text(actor) and is_number(seq)) then return false end
  end
  return true
end

local function is_cell_change(change)
  return type(change) == 'table' and is_text(change[1])
    and (change[2] == '' or is_stamp(change[2])) and is_number(change[3])
    and (change[4] == false or is_text(change[4])) and (change[5] == '' or is_dot(change[5]))
end

local function is_set_change(change)
  if type(change) ~= 'table' or not (is_text(change[1]) and is_number(change[2]) and type(change[3]) == 'table') then
    return false
  end
  for _, dot in ipairs(change[3]) do
    if not is_dot(dot) then return false end
  end
  return true
end

local function is_totals(change)
  return type(change) == 'table' and is_number(change[1]) and is_number(change[2])
end

local function is_write(operation)
  local kind, changes = operation[5], operation[7]
  if not (is_text(operation[4]) and is_text(operation[6]) and type(changes) == 'table') then return false end
  if not (is_vector(operation[8]) and is_number(operation[9])) then return false end
  if kind == 'c' then return is_totals(changes[1]) end
  local fits = (kind == 'r' or kind == 'm') and is_cell_change or kind == 's' and is_set_change
  if not fits then return false end
  for _, change in ipairs(changes) do
    if not fits(change) then return false end
  end
  return true
end

-- An operation as a table, looked at whole before anything is done; nil if it can't be read.
local function read_operation(blob)
  local done, operation, more = pcall(unpack_message, blob)
  if not done or more ~= nil or type(operation) ~= 'table' or operation[1] ~= 1 then return nil end
  local kind = operation[2]
  local fits = is_stamp(operation[3]) and (
    kind == 'w' and is_write(operation)
    or kind == 'h' and is_vector(operation[4]) and is_number(operation[5])
    or kind == 'b' and is_text(operation[4]) and is_number(operation[5]))
  return fits and operation or nil
end

-- The first actor and number, by the actors' bytes, that an operation needs and that are not known; or nil.
local function unmet(operation)
  if operation[2] == 'b' then
    local actor, seq = operation[4], operation[5]
    if actor ~= '' and seq_of(actor) < seq then return actor, seq end
    return nil
  end
  local least
  if operation[2] == 'w' then
    for actor, seq in next, operation[8] do
      if seq_of(actor) < seq and (not least or before(actor, least)) then least = actor end
    end
  end
  return least, least and operation[8][least]
end

local function take_in(operation, actor, seq, now)
  if operation[2] == 'h' then
    call('HSET', 's:peers', region_of(actor),
      '\149' .. pack(actor, operation[4], operation[3], operation[5], now))
    return
  end
  if operation[2] == 'b' then return end
  local place = place_of(operation[4], operation[5], operation[6])
  if place.kind == 'c' then return merge_totals(place, operation[7][1], actor, seq) end
  for _, change in ipairs(operation[7]) do
    if place.kind == 's' then
      local element = change[1]
      operate(place, element, get(place, element), change[2] ~= 0 and actor .. ':' .. digits(seq), change[3])
    else
      merge_write(place, change, operation[3], actor, seq)
    end
  end
end

-- actor, after, through, then number and operation each -> outcome, seq, applied, delay in ms, needs or ''
local function apply(args)
  still_opened()
  local actor, after, through = args[1], tonumber(args[2]), tonumber(args[3])
  local cursor = seq_of(actor)
  if through <= cursor then return { 'stale', digits(cursor), 0, 0, '' } end
  if actor == own.actor then
    refuse('TWIN', 'operation ' .. digits(through) .. ' of its own actor ' .. actor .. ' came, but it wrote only '
      .. digits(cursor) .. '; find and stop the other store that runs as region ' .. own.region)
  end
  if after > cursor then
    count('gaps')
    return { 'gap', digits(cursor), 0, 0, '' }
  end
  local now = wall()
  local outcome, applied, delay, needs = 'ok', 0, 0, ''
  for at = 4, #args, 2 do
    local seq = tonumber(args[at])
    if seq > cursor then
      local operation = read_operation(args[at + 1])
      local needed, needed_seq
      if operation then
        delay = ahead(operation[3], now)
        needed, needed_seq = unmet(operation)
      end
      if not operation then
        outcome = 'unreadable'
      elseif delay > 0 then
        outcome = 'future'
        count('futures')
      elseif needed then
        outcome, needs = 'wait', needed .. ':' .. digits(needed_seq)
        count('waits')
      end
      if outcome ~= 'ok' then
        -- What lies before it is applied, or may not be held here: known either way.
        learn(actor, seq - 1)
        break
      end
      observe(operation[3])
      take_in(operation, actor, seq, now)
      applied = applied + 1
      learn(actor, seq)
    end
  end
  if outcome == 'ok' then learn(actor, through) end
  if seq_of(actor) > cursor then keep_known(actor) end
  if applied > 0 then
    keep_clock()
    count('applied', applied)
  end
  return { outcome, digits(seq_of(actor)), applied, delay, needs }
end
