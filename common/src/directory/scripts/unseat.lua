-- Takes users of one bucket off a node.
-- KEYS[1]  seats   KEYS[2] due (see seat.lua)
-- ARGV[1]  the node, 8 bytes   ARGV[2] how long a user without a seat is online yet (µs)
-- ARGV[3..] users
local time = redis.call('TIME')
local offline_at = string.format('%.0f', time[1] * 1000000 + time[2] + ARGV[2])
for i, old in ipairs(redis.call('HMGET', KEYS[1], unpack(ARGV, 3))) do
  local user = ARGV[i + 2]
  old = old or ''
  local kept = {}
  for at = 1, #old - 15, 16 do
    if string.sub(old, at, at + 7) ~= ARGV[1] then
      kept[#kept + 1] = string.sub(old, at, at + 15)
    end
  end
  local new = table.concat(kept) .. string.sub(old, #old - #old % 16 + 1)
  if new ~= old then
    if new == '' then
      redis.call('HDEL', KEYS[1], user)
      redis.call('ZREM', KEYS[2], user)
    else
      redis.call('HSET', KEYS[1], user, new)
      if #kept == 0 then
        redis.call('ZADD', KEYS[2], offline_at, user)
      end
    end
  end
end
return 1
