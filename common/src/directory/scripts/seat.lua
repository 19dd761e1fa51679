-- Seats users of one bucket on a node.
-- KEYS[1]  seats: hash, user -> 16-byte records (node, since of its lease), one per node
-- ARGV[1]  the record   ARGV[2] ttl of the hash (ms)   ARGV[3..] users
local record, node = ARGV[1], string.sub(ARGV[1], 1, 8)
for i = 3, #ARGV do
  local old = redis.call('HGET', KEYS[1], ARGV[i])
  if old ~= record then
    local kept = {record}
    for at = 1, old and #old or 0, 16 do
      if string.sub(old, at, at + 7) ~= node then
        kept[#kept + 1] = string.sub(old, at, at + 15)
      end
    end
    redis.call('HSET', KEYS[1], ARGV[i], table.concat(kept))
  end
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
