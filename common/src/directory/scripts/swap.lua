-- Writes a value if its version is still the expected one.
-- KEYS[1]  the value: hash, v -> version, d -> data, w -> who wrote it
-- ARGV[1]  expected version, 0: absent   ARGV[2] data, empty: delete   ARGV[3] ttl (ms)
-- ARGV[4]  writer: a repeat of a call whose answer was lost finds itself here
-- Returns  1 if written
local old = redis.call('HMGET', KEYS[1], 'v', 'w')
local version, expected = tonumber(old[1] or 0), tonumber(ARGV[1])
if version == expected + 1 and old[2] == ARGV[4] then
  return 1
end
if version ~= expected then
  return 0
end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('HSET', KEYS[1], 'v', string.format('%.0f', version + 1), 'd', ARGV[2], 'w', ARGV[4])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return 1
