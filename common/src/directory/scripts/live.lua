-- The nodes with a lease, and those whose lease has ended but whose seats were not yet cleared.
-- KEYS[1]  leases   KEYS[2] since (see keep.lua)
-- ARGV[1]  length of a lease (µs)   ARGV[2] grace (µs)
-- Returns  now (µs), µs until the first of these leases ends, then for each node: node, since,
--          and nothing, or how long ago its lease ended (µs)
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local lease, grace = tonumber(ARGV[1]), tonumber(ARGV[2])

-- As in keep.lua: when nobody renewed for half a lease, it is this Redis that was away.
local from = now
local newest = tonumber(redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2])
if newest and newest < now + lease / 2 and newest + grace > now then
  from = newest - lease / 2
end

local first = lease
local answer = {string.format('%.0f', now), ''}
local nodes = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 1, #nodes, 2 do
  local since = redis.call('HGET', KEYS[2], nodes[i])
  if since then
    local left = nodes[i + 1] - from
    if left > 0 then
      first = math.min(first, left)
    end
    answer[#answer + 1] = nodes[i]
    answer[#answer + 1] = since
    answer[#answer + 1] = left > 0 and '' or string.format('%.0f', now - nodes[i + 1])
  end
end
answer[2] = string.format('%.0f', first)
return answer
