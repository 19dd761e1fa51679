-- Raises heads of one bucket; they never fall.
-- KEYS[1]  heads: hash, conversation -> seq
-- ARGV[1]  ttl of the hash (ms), counted from its beginning   ARGV[2..] conversation, seq, ...
for i = 2, #ARGV, 2 do
  local head = tonumber(redis.call('HGET', KEYS[1], ARGV[i]))
  if not head or head < tonumber(ARGV[i + 1]) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
return redis.call('PEXPIRE', KEYS[1], ARGV[1], 'NX')
