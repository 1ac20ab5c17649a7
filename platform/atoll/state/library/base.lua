-- What everything else stands on: builtins, refusals, how a function is offered.

-- Bound at the first call: while a library is being loaded, the server offers none of them.
local call, sha1hex, pack, unpack_message
local char, concat, find, floor, format, insert, match, sub, tonumber

local function bind()
  call, sha1hex = server.call, server.sha1hex
  pack, unpack_message = cmsgpack.pack, cmsgpack.unpack
  char, find, format, match, sub = string.char, string.find, string.format, string.match, string.sub
  concat, insert = table.concat, table.insert
  floor = math.floor
  tonumber = _G.tonumber
end

-- Ends the function; the caller gets an error reply that begins with `word`. Nothing may have been written before.
local function refuse(word, detail)
  error({ refusal = word .. ' ' .. detail })
end

local forget -- see region.lua

-- Offers `run(args)` as `atoll1_<name>`. All answers and all errors leave through here.
local function export(name, run, flags)
  local function callback(_, args)
    if not call then bind() end
    local done, answer = pcall(run, args)
    if done then return answer end
    if type(answer) == 'table' and answer.refusal then return server.error_reply(answer.refusal) end
    forget() -- what this library remembers may no longer be what the data say
    return server.error_reply(type(answer) == 'table' and answer.err or 'BROKEN ' .. tostring(answer))
  end
  server.register_function { function_name = 'atoll1_' .. name, callback = callback, flags = flags }
end

local READS = { 'no-writes' }
local WRITES = {}
local FREES = { 'allow-oom' } -- writes little, and is needed to get out of a full store

-- Whether text a comes before b by their bytes. (Lua's < on text goes by the server's locale.)
local function before(a, b)
  if a == b then return false end
  local shorter = #a < #b and #a or #b
  for at = 1, shorter do
    local x, y = a:byte(at), b:byte(at)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- A whole number as decimal digits. (Lua writes large ones as 1e+15.)
local function digits(number)
  return format('%d', number)
end

local LENGTHS = {} -- of texts that came so far, as digits

local function length_of(text)
  local length = #text
  local known_length = LENGTHS[length]
  if known_length then return known_length end
  known_length = digits(length)
  if length < 1024 then LENGTHS[length] = known_length end
  return known_length
end

local HEADS = {}

-- A text as msgpack. (As `pack` does it, without its buffers.)
local function packed_text(text)
  local length = #text
  if length > 31 then return pack(text) end
  local head = HEADS[length]
  if not head then
    head = char(160 + length)
    HEADS[length] = head
  end
  return head .. text
end

-- The head of a msgpack array of `length` elements; the packed elements follow it.
local function array_head(length)
  if length < 16 then return char(144 + length) end
  return char(220, floor(length / 256), length % 256)
end
