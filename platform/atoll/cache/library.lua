#!lua name=atoll_cache_1
-- Records of the cache (see store.py). A record is one hash, so that it is evicted as a whole:
--   e entry   n which fill made it   m marks that it was filled under
--   l lease's token (empty: a pause)   u its end, ms   k marks that it was given under
--   f floor: cmsgpack {actor -> seq}   x its end, ms   i mark
-- KEYS of a record: the record, the pulse, then what its marks come from: generations (strings) of its namespace and of
-- those it depends on, then the records that it depends on. ARGV[1] is the place in KEYS of the first of these records.

local function milliseconds()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function text(number)
  return string.format('%.0f', number)
end

-- Lets a record live for at least so long.
local function live(key, ms)
  if redis.call('PTTL', key) < ms then redis.call('PEXPIRE', key, text(ms)) end
end

local function fresh_mark(nonce)
  local time = redis.call('TIME')
  return time[1] .. '.' .. time[2] .. '.' .. nonce
end

-- The marks that an entry stands under; without a nonce nil if one is missing, with one the missing are given.
local function marks(keys, first, nonce, ms)
  local found = {}
  for at = 3, #keys do
    local record = at >= first
    local mark
    if record then mark = redis.call('HGET', keys[at], 'i') else mark = redis.call('GET', keys[at]) end
    if not mark then
      if not nonce then return nil end
      mark = fresh_mark(nonce)
      if record then redis.call('HSET', keys[at], 'i', mark) else redis.call('SET', keys[at], mark) end
    end
    if nonce and record then live(keys[at], ms) end
    found[#found + 1] = mark
  end
  return table.concat(found, ' ')
end

local function floor_of(key, now)
  local found = redis.call('HMGET', key, 'f', 'x')
  if not found[1] or tonumber(found[2]) <= now then return nil end
  return cmsgpack.unpack(found[1])
end

local function covers(vector, floor)
  for actor, seq in pairs(floor or {}) do
    if (vector[actor] or 0) < seq then return false end
  end
  return true
end

-- ARGV: first, token, owner, lease ms, unless
local function get(keys, args)
  local now, first, keep = milliseconds(), tonumber(args[1]), tonumber(args[4])
  local record = redis.call('HMGET', keys[1], 'e', 'n', 'm', 'l', 'u', 'k')
  local standing = marks(keys, first)
  local entry, fill = record[1], record[2]
  if not (entry and record[3] == standing) then entry, fill = false, '' end
  local answer = {now, tonumber(redis.call('HGET', keys[2], 't') or -1), entry, fill, 'none'}
  if entry and fill ~= args[5] then return answer end
  if record[4] and tonumber(record[5]) > now and record[6] == standing then
    local own = args[3] ~= '' and string.sub(record[4], 1, #args[3] + 1) == args[3] .. ':'
    if not own then
      answer[5] = record[4] == '' and 'paused' or 'held'
      return answer
    end
  end
  redis.call('HSET', keys[1], 'l', args[2], 'u', text(now + keep), 'k', marks(keys, first, args[2], keep))
  live(keys[1], keep)
  answer[5] = 'granted'
  return answer
end

-- ARGV: first, token, vector, entry, keep ms
local function fill(keys, args)
  local now, first, keep = milliseconds(), tonumber(args[1]), tonumber(args[5])
  local record = redis.call('HMGET', keys[1], 'l', 'u', 'k')
  local leased = record[1] == args[2] and tonumber(record[2]) > now
  local standing = marks(keys, first)
  local vector = cmsgpack.unpack(args[3])
  local clear = (not leased or record[3] == standing) and covers(vector, floor_of(keys[1], now))
  for at = first, #keys do clear = clear and covers(vector, floor_of(keys[at], now)) end
  if leased then redis.call('HDEL', keys[1], 'l', 'u', 'k') end
  if not clear then return 'overtaken' end
  if not leased then return 'lost' end
  redis.call('HSET', keys[1], 'e', args[4], 'n', args[2], 'm', standing)
  live(keys[1], keep)
  for at = first, #keys do live(keys[at], keep) end
  return 'taken'
end

-- ARGV: token, pause ms
local function release(keys, args)
  if redis.call('HGET', keys[1], 'l') ~= args[1] then return 0 end
  if tonumber(args[2]) > 0 then
    redis.call('HSET', keys[1], 'l', '', 'u', text(milliseconds() + args[2]))
    live(keys[1], tonumber(args[2]))
  else
    redis.call('HDEL', keys[1], 'l', 'u', 'k')
  end
  return 1
end

-- KEYS: records. ARGV: nonce, floor ms, then actor and seq for each record
local function drop(keys, args)
  local now = milliseconds()
  local keep = tonumber(args[2])
  for at, key in ipairs(keys) do
    local actor, seq = args[2 * at + 1], tonumber(args[2 * at + 2])
    local floor = floor_of(key, now) or {}
    if (floor[actor] or 0) < seq then
      floor[actor] = seq
      redis.call('HDEL', key, 'e', 'n', 'm', 'l', 'u', 'k')
      if redis.call('HEXISTS', key, 'i') == 1 then redis.call('HSET', key, 'i', fresh_mark(args[1])) end
    end
    redis.call('HSET', key, 'f', cmsgpack.pack(floor), 'x', text(now + keep))
    live(key, keep)
  end
  return #keys
end

-- KEYS: generations. ARGV: nonce
local function flush(keys, args)
  for _, key in ipairs(keys) do redis.call('SET', key, fresh_mark(args[1])) end
  return #keys
end

-- KEYS: the pulse. ARGV: heard ms. One that comes late says what it said when it was sent, and never takes back.
local function pulse(keys, args)
  local now = milliseconds()
  local heard = math.min(now, math.max(tonumber(args[1]), tonumber(redis.call('HGET', keys[1], 't') or 0)))
  redis.call('HSET', keys[1], 't', text(heard))
  return now
end

-- A full store must still learn what it may not serve any more.
local function register(name, callback, flags)
  redis.register_function{function_name = 'atoll_cache_1_' .. name, callback = callback, flags = flags}
end

register('get', get, {})
register('fill', fill, {})
register('release', release, {'allow-oom'})
register('drop', drop, {'allow-oom'})
register('flush', flush, {'allow-oom'})
register('pulse', pulse, {'allow-oom'})
