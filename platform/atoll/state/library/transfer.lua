-- Comparing and merging whole namespaces (see `atoll.state.store`).

local function split_member(member)
  return sub(member, 1, 1), sub(member, 3)
end

-- Calls `visit(place, field, data)` for every cell of a bucket; of a register's data only the begin.
local function each_cell(namespace, bucket, visit)
  for _, member in ipairs(call('SMEMBERS', 's:i:' .. namespace .. ':' .. bucket)) do
    local place = place_of(namespace, split_member(member))
    if place.kind == 'r' then
      visit(place, '', call('GETRANGE', place.name, 0, HEADER_BYTES))
    else
      local cells = call('HGETALL', place.name)
      for at = 1, #cells, 2 do visit(place, cells[at], cells[at + 1]) end
    end
  end
end

-- namespace, bucket -> vector, then kind, key, field and data without payload for each cell
local function listing(args)
  present()
  local list = {}
  each_cell(args[1], args[2], function(place, field, data)
    if place.kind == 'r' or place.kind == 'm' then data = sub(data, 1, parse_envelope(data).header) end
    local size = #list
    list[size + 1], list[size + 2], list[size + 3], list[size + 4] = place.kind, place.key, field, data
  end)
  return { vector_reply(), list }
end

-- The join of a peer's element: its live dots that are not known here, and what it knows to be removed.
local function merge_dots(ours, theirs)
  local live, removed = {}, {}
  if ours then
    for dot in next, ours.live do live[dot] = true end
    for dot in next, ours.removed do removed[dot] = true end
  end
  for dot in next, theirs.live do
    if not covers(dot) then live[dot] = true end
  end
  for dot in next, theirs.removed do
    if not covers(dot) then removed[dot] = true end
    live[dot] = nil
  end
  for dot in next, removed do live[dot] = nil end
  return dots_of(live, removed)
end

-- Joins one cell; answers whether that changed anything.
local function merge_cell(place, field, theirs)
  local ours = get(place, field)
  if place.kind == 'c' then
    if ours and theirs.seq <= ours.seq then return false end
    put(place, field, ours, theirs)
  elseif place.kind == 's' then
    local joined = merge_dots(ours, theirs)
    if (joined and joined.data) == (ours and ours.data) then return false end
    put(place, field, ours, joined)
  else
    -- What is known here and not there was deleted, and its tombstone collected.
    if ours and not later(theirs, ours) or not ours and covers(dot_of(theirs)) then return false end
    put_envelope(place, field, ours, theirs)
  end
  return true
end

-- namespace, then kind, key, field and data for each cell -> how many changed, delay in ms
local function merge(args)
  still_opened()
  local coming, newest = {}, nil
  for at = 2, #args, 4 do
    local cell = parse(args[at], args[at + 3])
    coming[#coming + 1] = { place_of(args[1], args[at], args[at + 1]), args[at + 2], cell }
    if cell.stamp and (not newest or cell.stamp > newest) then newest = cell.stamp end
  end
  if newest then
    local delay = ahead(newest, wall())
    if delay > 0 then return { 0, delay } end
    observe(newest)
    keep_clock()
  end
  local merged = 0
  for _, one in ipairs(coming) do
    if merge_cell(one[1], one[2], one[3]) then merged = merged + 1 end
  end
  if merged > 0 then count('merged', merged) end
  return { merged, 0 }
end

-- namespace, bucket, vector (packed), then kind, key, field and data of each cell that the peer listed (data only of
-- set elements) -> how many cells changed
local function settle(args)
  still_opened()
  local namespace, vector, listed = args[1], unpack_message(args[3]), {}
  local function theirs_cover(dot)
    local actor, seq = match(dot, '^(.*):(%d+)$')
    return (vector[actor] or 0) >= tonumber(seq)
  end
  for at = 4, #args, 4 do listed[pack(args[at], args[at + 1], args[at + 2])] = args[at + 3] end
  local doomed = {}
  each_cell(namespace, args[2], function(place, field, data)
    if place.kind == 'c' then return end
    local ours, there = parse(place.kind, data), listed[pack(place.kind, place.key, field)]
    if place.kind ~= 's' then
      -- A tombstone stays until this store finds by itself that nothing older can come.
      if not there and not ours.removed and theirs_cover(dot_of(ours)) then
        doomed[#doomed + 1] = { place, field, ours, nil }
      end
      return
    end
    local theirs, live = parse_dots(there or '').live, {}
    for dot in next, ours.live do
      if theirs[dot] or not theirs_cover(dot) then live[dot] = true end
    end
    local kept = dots_of(live, ours.removed)
    if (kept and kept.data) ~= ours.data then doomed[#doomed + 1] = { place, field, ours, kept } end
  end)
  for _, one in ipairs(doomed) do put(one[1], one[2], one[3], one[4]) end
  if doomed[1] then count('settled', #doomed) end
  return #doomed
end

-- vector (packed), stamp -> delay in ms
local function raise_to(args)
  still_opened()
  local delay = ahead(args[2], wall())
  if delay > 0 then return delay end
  observe(args[2])
  keep_clock()
  for actor, seq in next, unpack_message(args[1]) do
    if actor ~= own.actor and learn(actor, seq) then keep_known(actor) end
  end
  return 0
end
