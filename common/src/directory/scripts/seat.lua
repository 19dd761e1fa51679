-- Seats users of one bucket on a node.
-- KEYS[1]  seats: hash, user -> 16-byte records (node, since of its lease), one per node
-- ARGV[1]  the record   ARGV[2] ttl of the hash (ms)   ARGV[3..] users
local record, node = ARGV[1], string.sub(ARGV[1], 1, 8)
local changed = {}
for i, old in ipairs(redis.call('HMGET', KEYS[1], unpack(ARGV, 3))) do
  if old ~= record then
    local kept = {record}
    for at = 1, old and #old or 0, 16 do
      if string.sub(old, at, at + 7) ~= node then
        kept[#kept + 1] = string.sub(old, at, at + 15)
      end
    end
    changed[#changed + 1] = ARGV[i + 2]
    changed[#changed + 1] = table.concat(kept)
  end
end
if #changed > 0 then
  redis.call('HSET', KEYS[1], unpack(changed))
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
