-- Joins of cells, and the notes about conflicts (see `atoll.state.types` and `atoll.state.envelope`).

local function region_of(actor)
  return match(actor, '^(.*)%.')
end

-- Whether envelope a comes after b: by stamp, actor, removal, number.
local function later(a, b)
  if a.stamp ~= b.stamp then return a.stamp > b.stamp end
  if a.actor ~= b.actor then return before(b.actor, a.actor) end
  if a.removed ~= b.removed then return a.removed end
  return tonumber(a.seq) > tonumber(b.seq)
end

-- Whether a region knew a dot, as far as can be told here.
local function knew(region, dot)
  if region == own.region then return covers(dot) end
  local peer = call('HGET', 's:peers', region)
  if not peer then return false end
  local vector = unpack_message(peer)[2]
  local actor, seq = match(dot, '^(.*):(%d+)$')
  return (vector[actor] or 0) >= tonumber(seq)
end

local KEPT = 1000

-- Counts and lists a merge whose winner's writer did not know the loser. Never a value.
local function note_conflict(place, field, ours, theirs, theirs_wins, replaced)
  if ours.removed and theirs.removed then return end
  local winner, loser = ours, theirs
  if theirs_wins then winner, loser = theirs, ours end
  local lost = dot_of(loser)
  if theirs_wins and replaced == lost then return end
  if winner.actor == loser.actor or knew(region_of(winner.actor), lost) then return end
  count('conflict:' .. place.kind .. ':' .. place.namespace)
  call('XADD', 's:conflicts', 'MAXLEN', '~', KEPT, '*', 'n', place.namespace, 'k', place.kind, 'key', place.key,
    'f', field, 'w', dot_of(winner), 'ws', winner.stamp, 'l', lost, 'ls', loser.stamp)
end

local function put_envelope(place, field, old, new)
  put(place, field, old, new, region_of(new.actor) == own.region)
end

-- Applies another actor's write of a cell: [field, stamp or '', expiry, payload or false, replaced or ''].
local function merge_write(place, change, stamp, actor, seq)
  local field = change[1]
  local theirs = envelope_of(change[2] ~= '' and change[2] or stamp, actor, digits(seq),
    change[4] and change[3] ~= 0 and change[3] or nil, change[4])
  local ours = get(place, field)
  local wins = not ours or later(theirs, ours)
  if ours and change[2] == '' then note_conflict(place, field, ours, theirs, wins, change[5]) end
  if wins then put_envelope(place, field, ours, theirs) end
end

local function merge_totals(place, totals, actor, seq)
  local ours = get(place, actor)
  if not ours or seq > ours.seq then put(place, actor, ours, tally_of(totals[1], totals[2], seq)) end
end
