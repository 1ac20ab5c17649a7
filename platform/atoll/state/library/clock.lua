-- The region's hybrid logical clock (see `atoll.state.stamp`). A stamp is kept as its two numbers: both are exact.

local FUTURE_MS = 500

local clock_ms, clock_count = 0, 0
local hex_of_ms, hex_ms = '', -1 -- the last milliseconds that were written out, and which they are
local skew_ms = 0 -- a drill's: how far this store's wall clock pretends to be off

-- Unix milliseconds.
local function wall()
  local time = call('TIME')
  return time[1] * 1000 + floor(time[2] / 1000) + skew_ms
end

-- A stamp later than all before.
local function tick(now)
  if now > clock_ms then
    clock_ms, clock_count = now, 0
  elseif clock_count < 65535 then
    clock_count = clock_count + 1
  else
    clock_ms, clock_count = clock_ms + 1, 0
  end
  if hex_ms ~= clock_ms then hex_of_ms, hex_ms = format('%012x', clock_ms), clock_ms end
  return hex_of_ms .. (clock_count == 0 and '0000' or format('%04x', clock_count))
end

local function stamp_ms(stamp)
  return tonumber(sub(stamp, 1, 12), 16)
end

-- For how many milliseconds a stamp must be delayed.
local function ahead(stamp, now)
  local by = stamp_ms(stamp) - now - FUTURE_MS
  return by > 0 and by or 0
end

-- Takes another clock's stamp in. Whoever does so calls `keep_clock` before it ends.
local function observe(stamp)
  local ms, count = stamp_ms(stamp), tonumber(sub(stamp, 13), 16)
  if ms > clock_ms or (ms == clock_ms and count > clock_count) then
    clock_ms, clock_count = ms, count
  end
end

-- Puts the clock on disk. A write need not: its stamp is in the log.
local function keep_clock()
  call('HSET', 's:meta', 'hlc', format('%012x%04x', clock_ms, clock_count))
end
