-- This region's own writes.

local function must_not_write()
  refuse('CLOCK', 'writes are off: ' .. still_opened().refused)
end

-- Logs an operation on a key; `changes` are packed. Answers its number, and that in digits.
local function log_write(stamp, now, place, changes, deps)
  return append(place.namespace,
    '\153' .. pack(1, 'w', stamp, place.namespace, place.kind, place.key) .. changes .. deps .. pack(now))
end

local function dot_of(cell)
  return cell and cell.actor .. ':' .. cell.seq or ''
end

-- args from the 5th: field, expiry in ms or 0 or 'x' for a removal, payload; again for each field
local function write_cells(place, now, deps, args)
  local stamp = tick(now)
  local olds, packed, existed = {}, {}, ''
  local last = #args - 2
  for at = 5, last, 3 do
    local field, expiry = args[at], args[at + 1]
    local old = get(place, field)
    olds[#packed + 1] = old or false
    local there = old and not old.removed and not (old.expiry and old.expiry <= now)
    existed = existed .. (there and '1' or '0')
    packed[#packed + 1] = '\149'
      .. pack(field, '', tonumber(expiry) or 0, expiry ~= 'x' and args[at + 2], dot_of(old))
  end
  local _, seq = log_write(stamp, now, place, array_head(#packed) .. concat(packed), deps)
  for at = 5, last, 3 do
    local expiry = args[at + 1]
    local new = envelope_of(stamp, own.actor, seq, expiry ~= '0' and tonumber(expiry) or nil,
      expiry ~= 'x' and args[at + 2])
    put(place, args[at], olds[(at - 2) / 3] or nil, new, true)
  end
  return stamp .. '|' .. own.actor .. '|' .. seq .. '|' .. existed
end

local LIMIT = 9007199254740991

-- args: ..., amount
local function write_counter(place, now, deps, args)
  local amount = tonumber(args[5])
  local old = get(place, own.actor)
  local plus, minus = old and old.plus or 0, old and old.minus or 0
  if amount > 0 then plus = plus + amount else minus = minus - amount end
  if plus > LIMIT or minus > LIMIT then
    refuse('RANGE', "a counter's increments and its decrements may each sum up to " .. digits(LIMIT))
  end
  local stamp = tick(now)
  local seq, text = log_write(stamp, now, place, '\145\146' .. pack(plus, minus), deps)
  put(place, own.actor, old, tally_of(plus, minus, seq))
  return { stamp .. '|' .. own.actor .. '|' .. text .. '|', call('HVALS', place.name) }
end

-- Applies one operation to an element: the dots in `gone` go, `added` comes, if it is one.
local function operate(place, element, old, added, gone)
  local live, removed = {}, {}
  if old then
    for dot in next, old.live do live[dot] = true end
    for dot in next, old.removed do removed[dot] = true end
  end
  for _, dot in ipairs(gone) do
    live[dot] = nil
    if not covers(dot) then removed[dot] = true end
  end
  if added and not removed[added] then live[added] = true end
  local new = dots_of(live, removed)
  if old or new then put(place, element, old, new) end
end

-- args from the 5th: element, '1' to put it in or '0' to take it out; again for each element
local function write_set(place, now, deps, args)
  local stamp = tick(now)
  local olds, gones, packed, existed = {}, {}, {}, ''
  for at = 5, #args, 2 do
    local old = get(place, args[at])
    local gone = old and sorted_dots(old.live) or {}
    local number = #packed + 1
    olds[number], gones[number] = old or false, gone
    existed = existed .. (gone[1] and '1' or '0')
    packed[number] = '\147' .. pack(args[at], tonumber(args[at + 1]), gone)
  end
  local _, seq = log_write(stamp, now, place, array_head(#packed) .. concat(packed), deps)
  for at = 5, #args, 2 do
    local number = (at - 3) / 2
    operate(place, args[at], olds[number] or nil, args[at + 1] == '1' and own.actor .. ':' .. seq, gones[number])
  end
  return stamp .. '|' .. own.actor .. '|' .. seq .. '|' .. existed
end

local packed_now, packed_ms -- milliseconds that were packed last

-- The usual case, written out because it is the hot path: one value without expiry comes where none is, or over such
-- a value. Does what `write_cells` does. Nil: it is another case, and nothing is done.
local function write_plain(args)
  if args[8] or args[6] ~= '0' then return nil end
  local namespace, kind, key, field, payload = args[1], args[2], args[3], args[5], args[7]
  local name = 's:d:' .. namespace .. ':' .. kind .. ':' .. key
  local register = kind == 'r'
  local old
  if register then old = call('GETRANGE', name, 0, HEADER_BYTES) else old = call('HGET', name, field) or '' end
  local hashed_place = kind .. ':' .. length_of(key) .. ':' .. key .. ':' .. length_of(field) .. ':' .. field .. ':'
  local there = old ~= ''
  local replaced, live = '', 0
  if there then
    local a = find(old, '|', 18, true)
    local b = find(old, '|', a + 1, true)
    if sub(old, b + 1, b + 1) ~= '|' then return nil end
    replaced = sub(old, 18, a - 1) .. ':' .. sub(old, a + 1, b - 1)
    live = -tonumber(sub(sha1hex(hashed_place .. sub(old, 1, a - 1)), 1, 10), 16)
  end
  local now = wall()
  if packed_ms ~= now then packed_now, packed_ms = pack(now), now end
  local stamp = tick(now)
  local written = stamp .. '|' .. own.actor
  live = live + tonumber(sub(sha1hex(hashed_place .. written), 1, 10), 16)
  local _, seq = append(namespace, '\153\1\161w\176' .. stamp .. packed_text(namespace) .. '\161' .. kind
    .. packed_text(key) .. '\145\149' .. packed_text(field) .. '\160\0' .. packed_text(payload)
    .. packed_text(replaced) .. args[4] .. packed_now)
  local head = written .. '|' .. seq .. '|'
  if register then call('SET', name, head .. '|' .. payload) else call('HSET', name, field, head .. '|' .. payload) end
  local bucket = sub(sha1hex(kind .. ':' .. key), 1, 2)
  if not there then index({ namespace = namespace, kind = kind, key = key, bucket = bucket }, true) end
  if live ~= 0 then call('INCRBY', 's:g:' .. namespace .. ':' .. bucket, live) end
  return head .. (there and '1' or '0')
end

-- namespace, kind, key, deps (packed), changes... -> stamp|actor|seq|existed, for a counter with its tallies
local function write(args)
  if opened().refused ~= '' then must_not_write() end
  local kind = args[2]
  if kind == 'r' or kind == 'm' then
    local written = write_plain(args)
    if written then return written end
  end
  local place, now = place_of(args[1], kind, args[3]), wall()
  if kind == 'c' then return write_counter(place, now, args[4], args) end
  if kind == 's' then return write_set(place, now, args[4], args) end
  return write_cells(place, now, args[4], args)
end

-- limit -> how many were removed
local function expire(args)
  if still_opened().refused ~= '' then must_not_write() end
  local now = wall()
  local due = call('ZRANGEBYSCORE', 's:ttl', '-inf', now, 'LIMIT', 0, args[1])
  local keys, fields_of = {}, {}
  for _, queued_cell in ipairs(due) do
    local namespace, kind, key, field = unpack_message(queued_cell)
    local place = place_of(namespace, kind, key)
    if not fields_of[place.name] then
      keys[#keys + 1], fields_of[place.name] = place, {}
    end
    insert(fields_of[place.name], field)
  end
  for _, place in ipairs(keys) do
    local stamp, packed, olds = tick(now), {}, {}
    local fields = fields_of[place.name]
    for at, field in ipairs(fields) do
      olds[at] = get(place, field)
      packed[at] = '\149' .. pack(field, olds[at].stamp, 0, false, dot_of(olds[at]))
    end
    local _, seq = log_write(stamp, now, place, array_head(#fields) .. concat(packed), '\128')
    for at, field in ipairs(fields) do
      put(place, field, olds[at], envelope_of(olds[at].stamp, own.actor, seq, nil, false), true)
    end
  end
  if due[1] then
    keep_clock()
    count('expired', #due)
  end
  return #due
end
