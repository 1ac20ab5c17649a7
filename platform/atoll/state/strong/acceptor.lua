#!lua name=atoll_acceptor_1

-- The acceptor of strong registers, in the state store. The rules are those of `acceptor.py`; tests hold the two against
-- each other. Each function is atomic, and the store answers when what it wrote is on disk (appendfsync always).
--
--     {cp}                   string  identity: drawn once for this store, and lost with it
--     {cp}!<namespace>       hash    epoch, configuration: the acceptor set that it goes by
--     {cp}:<namespace>:<key> hash    p promised ballot, a accepted ballot, v value
--     {cp}/<namespace>       zset    keys that have a record, in byte order

-- Lua's own comparison goes by the server's locale; ballots are ordered byte by byte.
local function less(a, b)
  local shorter = math.min(#a, #b)
  for i = 1, shorter do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then
      return x < y
    end
  end
  return #a < #b
end

-- Why the request is not for us, or nil. keys: identity, standing; args: member, epoch.
local function refusal(keys, args)
  local identity = redis.call('GET', keys[1])
  if not identity then
    return {'refused', 'NO_IDENTITY'}
  end
  if identity ~= args[1] then
    return {'refused', 'OTHER_MEMBER'}
  end
  local standing = redis.call('HMGET', keys[2], 'epoch', 'configuration')
  if not standing[1] then
    return {'refused', 'NO_CONFIGURATION'}
  end
  if tonumber(args[2]) < tonumber(standing[1]) then
    return {'stale', standing[2]}
  end
  return nil
end

-- keys: identity; args: the identity to take if there is none
local function open(keys, args)
  redis.call('SET', keys[1], args[1], 'NX')
  return redis.call('GET', keys[1])
end

-- keys: identity, standing
local function describe(keys, args)
  local standing = redis.call('HMGET', keys[2], 'epoch', 'configuration')
  return {'description', redis.call('GET', keys[1]), standing[1] or '0', standing[2]}
end

-- keys: identity, standing; args: member, epoch, configuration
local function configure(keys, args)
  local refused = refusal(keys, args)
  if refused and refused[2] ~= 'NO_CONFIGURATION' then
    return refused
  end
  local standing = redis.call('HMGET', keys[2], 'epoch', 'configuration')
  if not standing[1] or tonumber(args[2]) > tonumber(standing[1]) then
    redis.call('HSET', keys[2], 'epoch', args[2], 'configuration', args[3])
    return {'configured'}
  end
  if standing[2] == args[3] then
    return {'configured'}
  end
  return {'refused', 'DISPUTED'}
end

-- keys: identity, standing, record, index; args: member, epoch, key, ballot
local function prepare(keys, args)
  local refused = refusal(keys, args)
  if refused then
    return refused
  end
  local ballot = args[4]
  local record = redis.call('HMGET', keys[3], 'p', 'a', 'v')
  if record[1] and less(ballot, record[1]) then
    return {'rejected', record[1]}
  end
  if not record[1] then
    redis.call('ZADD', keys[4], 0, args[3])
  end
  redis.call('HSET', keys[3], 'p', ballot)
  return {'promised', record[2], record[3]}
end

-- keys: identity, standing, record, index; args: member, epoch, key, ballot, value, promise or ""
local function accept(keys, args)
  local refused = refusal(keys, args)
  if refused then
    return refused
  end
  local ballot, value, promise = args[4], args[5], args[6]
  local record = redis.call('HMGET', keys[3], 'p', 'a', 'v')
  if record[1] and record[2] == ballot then
    return {record[3] == value and 'accepted' or 'rejected', record[1]}
  end
  if record[1] and less(ballot, record[1]) then
    return {'rejected', record[1]}
  end
  if not record[1] then
    redis.call('ZADD', keys[4], 0, args[3])
  end
  local promised = less(ballot, promise) and promise or ballot
  redis.call('HSET', keys[3], 'p', promised, 'a', ballot, 'v', value)
  return {'accepted', promised}
end

-- keys: identity, standing, record; args: member, epoch
local function read(keys, args)
  local refused = refusal(keys, args)
  if refused then
    return refused
  end
  local record = redis.call('HMGET', keys[3], 'a', 'v')
  return {'current', record[1], record[2]}
end

-- keys: identity, standing, index; args: member, epoch, after, limit
local function list(keys, args)
  local refused = refusal(keys, args)
  if refused then
    return refused
  end
  return {'listed', redis.call('ZRANGEBYLEX', keys[3], '(' .. args[3], '+', 'LIMIT', 0, args[4])}
end

local function register(name, callback, writes)
  redis.register_function{
    function_name = 'atoll_acceptor_1_' .. name,
    callback = callback,
    flags = writes and {} or {'no-writes'},
  }
end

register('open', open, true)
register('configure', configure, true)
register('prepare', prepare, true)
register('accept', accept, true)
register('describe', describe, false)
register('read', read, false)
register('list', list, false)
