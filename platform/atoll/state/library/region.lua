-- Whose store this is, in which epoch, and what it knows.
--
-- The hot path doesn't ask the data for that: it is remembered here and said by the data again after anything
-- unexpected. Only this library writes these keys. `begun` dies with the server's process, and so does the epoch:
-- a store that has not been opened since its start, or since another library was loaded, is closed.

local begun = false
local own -- { region, epoch, actor, seq, prefix, refused }; nil: to be recalled
local known = {} -- actor -> seq, this epoch's own actor left out

function forget()
  own, known = nil, {}
end

local function pairs_of(list)
  local map = {}
  for at = 1, #list, 2 do map[list[at]] = list[at + 1] end
  return map
end

-- The log's last id as epoch and seq, entries that were cut off included; nil if there is no log.
local function last_of_log()
  if call('EXISTS', 's:log') == 0 then return nil end
  local id = pairs_of(call('XINFO', 'STREAM', 's:log'))['last-generated-id']
  local epoch, seq = match(id, '^(%d+)-(%d+)$')
  return tonumber(epoch), tonumber(seq)
end

-- Reads everything that is remembered from the data. Nil if there are none of an epoch.
local function recall()
  local meta = call('HMGET', 's:meta', 'region', 'epoch', 'actor', 'hlc', 'refuse')
  local epoch, seq = last_of_log()
  known, clock_ms, clock_count = {}, 0, 0
  if not (meta[3] and epoch == tonumber(meta[2])) then return nil end
  if meta[4] then observe(meta[4]) end
  local last = call('XREVRANGE', 's:log', '+', '-', 'COUNT', 1)[1]
  if last then observe(unpack_message(last[2][4])[3]) end
  for actor, known_seq in next, pairs_of(call('HGETALL', 's:vv')) do known[actor] = tonumber(known_seq) end
  own = {
    region = meta[1], epoch = epoch, actor = meta[3], seq = seq, prefix = meta[2] .. '-', refused = meta[5] or '',
  }
  return own
end

local function closed()
  begun = false
  refuse('CLOSED', 'it has not been opened since its server started; its agent opens it when it comes up')
end

-- The open epoch, for a function whose first write is `append`, which notices when the data are gone.
local function opened()
  if not begun then closed() end
  return own or recall() or closed()
end

-- The last epoch, open or not; nil if there was none.
local function present()
  if own and call('HGET', 's:meta', 'actor') == own.actor then return own end
  forget()
  return recall()
end

-- The open epoch, for all other functions.
local function still_opened()
  return begun and present() or closed()
end

local function seq_of(actor)
  return own and actor == own.actor and own.seq or known[actor] or 0
end

local function covers(dot)
  local actor, seq = match(dot, '^(.*):(%d+)$')
  return seq_of(actor) >= tonumber(seq)
end

-- Knows an actor up to `seq`, in memory; answers whether that is new.
local function learn(actor, seq)
  if seq <= seq_of(actor) then return false end
  known[actor] = seq
  return true
end

-- Puts on disk up to where an actor is known, and says so to whoever waits for it.
local function keep_known(actor)
  call('HSET', 's:vv', actor, digits(known[actor]))
  call('PUBLISH', 's:moved', actor .. ':' .. digits(known[actor]))
end

-- This store's vector as a table, own actor included.
local function knowledge()
  local vector = {}
  for actor, seq in next, known do vector[actor] = seq end
  if own then vector[own.actor] = own.seq end
  return vector
end

-- The same as a flat list.
local function vector_reply()
  local list = {}
  for actor, seq in next, knowledge() do
    list[#list + 1] = actor
    list[#list + 1] = digits(seq)
  end
  return list
end

-- Adds an operation to the log: the first write of its function. Answers its number, and that in digits.
local function append(namespace, blob)
  local seq = own.seq + 1
  local text = digits(seq)
  if not call('XADD', 's:log', 'NOMKSTREAM', own.prefix .. text, 'n', namespace, 'o', blob) then
    forget()
    closed() -- the data were removed under the running server
  end
  own.seq = seq
  return seq, text
end

local function count(name, by)
  call('HINCRBY', 's:count', name, by or 1)
end
