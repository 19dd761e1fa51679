-- Takes it on to tell of users of one bucket whose contacts do not know whether they are online.
-- KEYS[1]  seats   KEYS[2] due (see seat.lua)
-- KEYS[3]  telling: zset, user -> until when somebody is telling (µs)
-- ARGV[1]  users at most   ARGV[2] how long telling may take (µs)
-- ARGV[3]  records of live nodes, one after another
-- ARGV[4]  µs: records of leases that began later count as well
-- Returns  user, 1 if it is online, else 0, ...
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local users =
  redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now), 'LIMIT', 0, ARGV[1])
if #users == 0 then
  return {}
end
local live = {}
for at = 1, #ARGV[3], 16 do
  live[string.sub(ARGV[3], at, at + 15)] = true
end
local known_until = tonumber(ARGV[4])
local until_then = string.format('%.0f', now + ARGV[2])
local claimed = {}
for i, value in ipairs(redis.call('HMGET', KEYS[1], unpack(users))) do
  local user = users[i]
  value = value or ''
  local records = string.sub(value, 1, #value - #value % 16)
  local known, online = string.sub(value, #records + 1), ''
  for at = 1, #records, 16 do
    local record = string.sub(records, at, at + 15)
    if live[record] or struct.unpack('>I8', record, 9) > known_until then
      online = 't'
    end
  end
  local telling = redis.call('ZSCORE', KEYS[3], user)
  if telling and tonumber(telling) > now then
    -- One after the other: what two tell at once may arrive in any order.
    redis.call('ZADD', KEYS[2], telling, user)
  elseif online == known then
    redis.call('ZREM', KEYS[2], user)
    redis.call('ZREM', KEYS[3], user)
  else
    -- Unknown, also if nobody comes to the end of telling: then it is told again.
    redis.call('HSET', KEYS[1], user, records .. 'u')
    redis.call('ZADD', KEYS[2], until_then, user)
    redis.call('ZADD', KEYS[3], until_then, user)
    claimed[#claimed + 1] = user
    claimed[#claimed + 1] = online == 't' and '1' or '0'
  end
end
redis.call('PEXPIRE', KEYS[3], string.format('%.0f', ARGV[2] / 500))
return claimed
