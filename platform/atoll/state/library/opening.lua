-- Epochs begin; the agent says how the region stands.

local FIRST_EPOCH = 1000000000

-- region, identity, floor -> actor, previous actor or '', previous seq, '1' if fresh
local function open(args)
  local region, identity, floor_epoch = args[1], args[2], tonumber(args[3])
  local meta = call('HMGET', 's:meta', 'v', 'identity', 'region', 'written', 'epoch')
  local fresh = not meta[2]
  if not fresh then
    if meta[1] ~= '1' then
      refuse('VERSION', 'its data are of version ' .. tostring(meta[1]) .. ', this program writes version 1; update it')
    end
    if meta[2] ~= identity or meta[3] ~= region then
      refuse('IDENTITY', 'its data belong to region ' .. meta[3] .. ' of deployment ' .. meta[2] .. ', not to region '
        .. region .. ' of deployment ' .. identity .. '; give it a store of its own, or wipe this one')
    end
  end
  forget()
  local previous = recall()
  local logged, stored = last_of_log() or 0, tonumber(meta[5]) or 0
  local now = wall()
  local epoch = floor(now / 1000)
  for _, least in ipairs({ FIRST_EPOCH, floor_epoch + 1, logged + 1, stored + 1 }) do
    if epoch < least then epoch = least end
  end
  local actor = region .. '.' .. digits(epoch)
  local stamp = tick(now)
  call('HSET', 's:meta', 'v', 1, 'region', region, 'epoch', digits(epoch), 'actor', actor, 'identity', identity,
    'hlc', stamp)
  call('HSETNX', 's:meta', 'complete', 0)
  if fresh and floor_epoch > 0 then call('HSET', 's:meta', 'lost', 1) end
  if previous then
    known[previous.actor] = previous.seq
    keep_known(previous.actor)
    call('HSET', 's:meta', 'written', digits((tonumber(meta[4]) or 0) + previous.seq))
  end
  local blob = '\149' .. pack(1, 'b', stamp, previous and previous.actor or '', previous and previous.seq or 0)
  call('XADD', 's:log', digits(epoch) .. '-1', 'n', '', 'o', blob)
  begun, own = true, nil
  return { actor, previous and previous.actor or '', digits(previous and previous.seq or 0), fresh and '1' or '0' }
end

local function complete()
  call('HSET', 's:meta', 'complete', 1)
  call('HDEL', 's:meta', 'lost')
end

-- reason, or '' to end it
local function refuse_writes(args)
  call('HSET', 's:meta', 'refuse', args[1])
  if own then own.refused = args[1] end
end

-- Lets this store's wall clock be off by milliseconds, until its server ends; for drills.
local function skew(args)
  skew_ms = tonumber(args[1])
end
