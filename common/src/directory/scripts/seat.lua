-- Seats users of one bucket on a node.
-- KEYS[1]  seats: hash, user -> 16-byte records (node, since of its lease), one per node, and at the
--          end what its contacts know: 't' they were told that it is online, 'u' unknown because
--          somebody is telling them, nothing: they hold it for offline
-- KEYS[2]  due: zset, user -> when it must be looked whether its contacts know (µs)
-- ARGV[1]  the record   ARGV[2] ttl of both (ms)   ARGV[3..] users
local record, node = ARGV[1], string.sub(ARGV[1], 1, 8)
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000000 + time[2])
local changed, untold, told = {}, {}, {}
for i, old in ipairs(redis.call('HMGET', KEYS[1], unpack(ARGV, 3))) do
  local user = ARGV[i + 2]
  old = old or ''
  local kept = {record}
  for at = 1, #old - 15, 16 do
    if string.sub(old, at, at + 7) ~= node then
      kept[#kept + 1] = string.sub(old, at, at + 15)
    end
  end
  local known = string.sub(old, #old - #old % 16 + 1)
  kept[#kept + 1] = known
  if known == 't' then
    told[#told + 1] = user
  else
    untold[#untold + 1] = now
    untold[#untold + 1] = user
  end
  local new = table.concat(kept)
  if new ~= old then
    changed[#changed + 1] = user
    changed[#changed + 1] = new
  end
end
if #changed > 0 then
  redis.call('HSET', KEYS[1], unpack(changed))
end
if #untold > 0 then
  redis.call('ZADD', KEYS[2], unpack(untold))
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
if #told > 0 then
  redis.call('ZREM', KEYS[2], unpack(told))
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
