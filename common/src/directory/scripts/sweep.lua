-- Removes seats of dead nodes, a step at a time, and looks whether this bucket lost its memory.
-- KEYS[1]  seats (see seat.lua)
-- ARGV[1]  cursor of the last step   ARGV[2] fields per step
-- ARGV[3]  records of live nodes, one after another
-- ARGV[4]  µs: records of leases that began later are left alone, the list may not know them yet
-- ARGV[5]  field of the sweeping node's mark   ARGV[6] its record   ARGV[7] ttl of the hash (ms)
-- Returns  the next cursor; 1 if the mark was there, else 0. The mark is set again.
local has_mark = redis.call('HGET', KEYS[1], ARGV[5]) == ARGV[6]
if not has_mark then
  redis.call('HSET', KEYS[1], ARGV[5], ARGV[6])
end
redis.call('PEXPIRE', KEYS[1], ARGV[7])

local live = {}
for at = 1, #ARGV[3], 16 do
  live[string.sub(ARGV[3], at, at + 15)] = true
end
local known_until = tonumber(ARGV[4])
local step = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
for i = 1, #step[2], 2 do
  local user, old = step[2][i], step[2][i + 1]
  local kept = {}
  for at = 1, #old, 16 do
    local record = string.sub(old, at, at + 15)
    if live[record] or struct.unpack('>I8', record, 9) > known_until then
      kept[#kept + 1] = record
    end
  end
  if #kept == 0 then
    redis.call('HDEL', KEYS[1], user)
  elseif #kept * 16 < #old then
    redis.call('HSET', KEYS[1], user, table.concat(kept))
  end
end
return {step[1], has_mark and '1' or '0'}
