-- Cells of all kinds as tables, and what is kept about them. Every change of a cell goes through `put`.

-- Where a key is: the name of its Valkey key, its bucket in two hex digits, the begin of what its cells' hashes are taken over.
local function place_of(namespace, kind, key)
  return {
    namespace = namespace,
    kind = kind,
    key = key,
    name = 's:d:' .. namespace .. ':' .. kind .. ':' .. key,
    bucket = sub(sha1hex(kind .. ':' .. key), 1, 2),
    prefix = kind .. ':' .. length_of(key) .. ':' .. key .. ':',
  }
end

-- An envelope's header, and as much of its payload as `data` has.
local function parse_envelope(data)
  local a = find(data, '|', 18, true)
  local b = find(data, '|', a + 1, true)
  local c = find(data, '|', b + 1, true)
  local expiry = sub(data, b + 1, c - 1)
  return {
    stamp = sub(data, 1, 16),
    actor = sub(data, 18, a - 1),
    seq = sub(data, a + 1, b - 1),
    removed = expiry == 'x',
    expiry = tonumber(expiry), -- nil: never
    data = data,
    header = c,
  }
end

local function envelope_of(stamp, actor, seq, expiry, payload)
  local removed = not payload
  return {
    stamp = stamp,
    actor = actor,
    seq = seq,
    removed = removed,
    expiry = expiry,
    data = stamp .. '|' .. actor .. '|' .. seq .. '|' .. (removed and 'x' or expiry and digits(expiry) or '')
      .. '|' .. (payload or ''),
  }
end

local function parse_tally(data)
  local plus, minus, seq = match(data, '^(%d+) (%d+) (%d+)$')
  return { plus = tonumber(plus), minus = tonumber(minus), seq = tonumber(seq), data = data }
end

local function tally_of(plus, minus, seq)
  return {
    plus = plus, minus = minus, seq = seq, data = digits(plus) .. ' ' .. digits(minus) .. ' ' .. digits(seq),
  }
end

local function parse_dots(data)
  local live, removed = {}, {}
  for dot in string.gmatch(data, '[^,]+') do
    if sub(dot, 1, 1) == '-' then removed[sub(dot, 2)] = true else live[dot] = true end
  end
  return { live = live, removed = removed, data = data }
end

local function dot_before(a, b)
  local actor, seq = match(a, '^(.*):(%d+)$')
  local other, theirs = match(b, '^(.*):(%d+)$')
  if actor == other then return tonumber(seq) < tonumber(theirs) end
  return before(actor, other)
end

local function sorted_dots(dots)
  local list = {}
  for dot in next, dots do list[#list + 1] = dot end
  if list[2] then table.sort(list, dot_before) end
  return list
end

-- An element; nil if there is nothing to keep.
local function dots_of(live, removed)
  local list, gone = sorted_dots(live), sorted_dots(removed)
  for _, dot in ipairs(gone) do list[#list + 1] = '-' .. dot end
  if not list[1] then return nil end
  return { live = live, removed = removed, data = concat(list, ',') }
end

local PARSERS = { r = parse_envelope, m = parse_envelope, c = parse_tally, s = parse_dots }

local function parse(kind, data)
  return PARSERS[kind](data)
end

local HEADER_BYTES = 256 -- more than a header has

-- A cell of a place; nil if there is none. Of a register only the begin is read: values may be large.
local function get(place, field)
  local data
  if place.kind == 'r' then
    data = call('GETRANGE', place.name, 0, HEADER_BYTES)
    if data == '' then return nil end
  else
    data = call('HGET', place.name, field)
    if not data then return nil end
  end
  return parse(place.kind, data)
end

local function hashed(place, field, identity)
  return tonumber(sub(sha1hex(place.prefix .. length_of(field) .. ':' .. field .. ':' .. identity), 1, 10), 16)
end

-- What a cell adds to its bucket's digests: of what is there, of what was removed.
local function sums(place, field, cell)
  if place.kind == 'c' then return hashed(place, field, cell.data), 0 end
  if place.kind == 's' then
    local live, removed = 0, 0
    for dot in next, cell.live do live = live + hashed(place, field, dot) end
    for dot in next, cell.removed do removed = removed + hashed(place, field, '-' .. dot) end
    return live, removed
  end
  local hash = hashed(place, field, cell.stamp .. '|' .. cell.actor)
  if cell.removed then return 0, hash end
  return hash, 0
end

local function is_grave(place, cell)
  if not cell or place.kind == 'c' then return false end
  if place.kind == 's' then return next(cell.removed) ~= nil end
  return cell.removed
end

local function queued(place, field)
  return pack(place.namespace, place.kind, place.key, field)
end

-- Keeps the index in step: the key of `place` has got its first cell, or may have lost its last.
local function index(place, present_now)
  local members, member = 's:i:' .. place.namespace .. ':' .. place.bucket, place.kind .. ':' .. place.key
  if present_now then
    if call('SADD', members, member) == 1 then call('HINCRBY', 's:namespaces', place.namespace, 1) end
  elseif call('EXISTS', place.name) == 0 and call('SREM', members, member) == 1 then
    call('HINCRBY', 's:namespaces', place.namespace, -1)
  end
end

-- Replaces the cell `old` by `new`; nil: there is none. `expires_here`: an expiry of `new` is this region's to purge.
local function put(place, field, old, new, expires_here)
  local live, removed = 0, 0
  if new then live, removed = sums(place, field, new) end
  if old then
    local old_live, old_removed = sums(place, field, old)
    live, removed = live - old_live, removed - old_removed
  end
  if not new then
    if place.kind == 'r' then call('DEL', place.name) else call('HDEL', place.name, field) end
    index(place, false)
  else
    if place.kind == 'r' then
      call('SET', place.name, new.data)
    else
      call('HSET', place.name, field, new.data)
    end
    if not old then index(place, true) end
  end
  local digest = 's:g:' .. place.namespace .. ':' .. place.bucket
  if live ~= 0 then call('INCRBY', digest, live) end
  if removed ~= 0 then call('INCRBY', digest .. 'x', removed) end
  local was, is = is_grave(place, old), is_grave(place, new)
  if is and not was then
    call('ZADD', 's:tomb', call('HINCRBY', 's:count', 'graves', 1), queued(place, field))
  elseif was and not is then
    call('ZREM', 's:tomb', queued(place, field))
  end
  if new and new.expiry and expires_here then
    call('ZADD', 's:ttl', new.expiry, queued(place, field))
  elseif old and old.expiry then
    call('ZREM', 's:ttl', queued(place, field))
  end
end
