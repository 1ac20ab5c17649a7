-- What the agent does beside writes and batches, and what it looks at.

-- -> actor, seq
local function heartbeat()
  local me = still_opened()
  local now = wall()
  local stamp, vector = tick(now), knowledge()
  vector[me.actor] = me.seq + 1
  local _, seq = append('', '\149' .. pack(1, 'h', stamp, vector, now))
  return { me.actor, seq }
end

-- peer, actor, seq
local function acked(args)
  local me = present()
  if me and args[2] == me.actor then
    call('XADD', 's:acks', 'MAXLEN', '~', KEPT, '*', 'p', args[1], 'a', args[2], 's', args[3])
  end
end

-- epoch and seq of the first entry to keep -> how many were cut
local function trim(args)
  if present() then keep_clock() end -- the log may lose the entry that says it
  return call('XTRIM', 's:log', 'MINID', '=', args[1] .. '-' .. args[2])
end

local SCANNED = 1000 -- of the tombstones, in one call
local scan_from = '-inf'

-- What is left of a grave's cell; the cell itself if it must stay.
local function remains(cell, kind, stable)
  if kind ~= 's' then
    if (stable[cell.actor] or 0) >= tonumber(cell.seq) then return nil end
    return cell
  end
  local removed, dropped = {}, false
  for dot in next, cell.removed do
    if covers(dot) then dropped = true else removed[dot] = true end
  end
  if dropped then return dots_of(cell.live, removed) end
  return cell
end

-- stable vector (packed), limit -> how many were dropped
local function collect(args)
  present()
  local stable, limit = unpack_message(args[1]), tonumber(args[2])
  local graves = call('ZRANGE', 's:tomb', scan_from, '+inf', 'BYSCORE', 'LIMIT', 0, SCANNED, 'WITHSCORES')
  local dropped = 0
  for at = 1, #graves, 2 do
    if dropped == limit then break end
    local namespace, kind, key, field = unpack_message(graves[at])
    local place = place_of(namespace, kind, key)
    local cell = get(place, field)
    local left = remains(cell, kind, stable)
    if left ~= cell then
      put(place, field, cell, left)
      dropped = dropped + 1
    end
  end
  -- The next call goes on behind those that were looked at, and at the end from the front again.
  if dropped < limit then scan_from = #graves == 2 * SCANNED and '(' .. graves[#graves] or '-inf' end
  if dropped > 0 then count('collected', dropped) end
  return dropped
end

local function vector()
  present()
  return vector_reply()
end

local function clock()
  present()
  return format('%012x%04x', clock_ms, clock_count)
end

-- -> the wall clock now, the last stamp
local function clocks()
  present()
  return { wall(), format('%012x%04x', clock_ms, clock_count) }
end

-- epoch and seq of a cursor, count -> entries behind it, and the last operation that was written, atomically
local function read_log(args)
  local me = present()
  return {
    call('XRANGE', 's:log', '(' .. args[1] .. '-' .. args[2], '+', 'COUNT', args[3]),
    me and { me.actor, digits(me.seq) } or {},
  }
end

-- -> meta, counts, vector as flat lists, then log entries, log bytes, tombstones, expiries, own operations, '1' if open
local function statistics()
  local me = present()
  return {
    call('HGETALL', 's:meta'), call('HGETALL', 's:count'), vector_reply(),
    call('XLEN', 's:log'), call('MEMORY', 'USAGE', 's:log') or 0, call('ZCARD', 's:tomb'), call('ZCARD', 's:ttl'),
    me and digits(me.seq) or '0', me and begun and '1' or '0',
  }
end
