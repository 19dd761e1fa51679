-- Takes users of one bucket off a node.
-- KEYS[1]  seats (see seat.lua)
-- ARGV[1]  the node, 8 bytes   ARGV[2..] users
for i = 2, #ARGV do
  local old = redis.call('HGET', KEYS[1], ARGV[i])
  if old then
    local kept = {}
    for at = 1, #old, 16 do
      if string.sub(old, at, at + 7) ~= ARGV[1] then
        kept[#kept + 1] = string.sub(old, at, at + 15)
      end
    end
    if #kept == 0 then
      redis.call('HDEL', KEYS[1], ARGV[i])
    elseif #kept * 16 < #old then
      redis.call('HSET', KEYS[1], ARGV[i], table.concat(kept))
    end
  end
end
return 1
