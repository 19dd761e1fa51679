-- Renews the lease of a node, or begins a new one.
-- KEYS[1]  leases: zset, node -> end of its lease (µs)
-- KEYS[2]  since: hash, node -> beginning of its lease (µs); older seats do not count
-- ARGV[1]  node   ARGV[2] length of a lease (µs)   ARGV[3] grace (µs)
-- Returns  the beginning of the lease, as text
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local lease, grace = tonumber(ARGV[2]), tonumber(ARGV[3])

-- Nobody renewed for half a lease: not the nodes were away but this Redis (a failover). Who was
-- renewing until then is renewed now, as it would have done itself.
local newest = tonumber(redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2])
if newest and newest < now + lease / 2 and newest + grace > now then
  local from = string.format('%.0f', newest - lease / 2)
  for _, node in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], from, '+inf')) do
    redis.call('ZADD', KEYS[1], string.format('%.0f', now + lease), node)
  end
end

local long_ago = string.format('%.0f', now - grace)
for _, node in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', long_ago)) do
  redis.call('ZREM', KEYS[1], node)
  redis.call('HDEL', KEYS[2], node)
end

local ends = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0)
local since = ends > now and redis.call('HGET', KEYS[2], ARGV[1])
if not since then
  since = string.format('%.0f', now)
  redis.call('HSET', KEYS[2], ARGV[1], since)
end
redis.call('ZADD', KEYS[1], string.format('%.0f', now + lease), ARGV[1])
return since
