-- Removes seats of dead nodes, a step at a time; looks whether this bucket lost its memory, and
-- whether somebody's coming or going is known to nobody.
-- KEYS[1]  seats   KEYS[2] due (see seat.lua)
-- ARGV[1]  cursor of the last step   ARGV[2] fields per step
-- ARGV[3]  records that count, one after another
-- ARGV[4]  µs: records of leases that began later are left alone, the list may not know them yet
-- ARGV[5]  field of the sweeping node's mark, or nothing   ARGV[6] its record
-- ARGV[7]  ttl of both (ms)
-- ARGV[8]  how long a user whose last seat goes here is online yet (µs)
-- Returns  the next cursor; 1 if the mark was there, else 0 (it is set again); users whose last
--          seat went
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local has_mark = ARGV[5] == '' or redis.call('HGET', KEYS[1], ARGV[5]) == ARGV[6]
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
local due, gone = {}, 0
for i = 1, #step[2], 2 do
  local user, old = step[2][i], step[2][i + 1]
  local is_mark = string.sub(user, 1, 1) == '@'
  local kept = {}
  for at = 1, #old - 15, 16 do
    local record = string.sub(old, at, at + 15)
    if live[record] or struct.unpack('>I8', record, 9) > known_until then
      kept[#kept + 1] = record
    end
  end
  local known = string.sub(old, #old - #old % 16 + 1)
  local new = table.concat(kept) .. known
  if new == '' then
    redis.call('HDEL', KEYS[1], user)
  elseif new ~= old then
    redis.call('HSET', KEYS[1], user, new)
  end
  if not is_mark then
    if #kept == 0 and #old >= 16 then
      gone = gone + 1
    end
    -- Of whom something else is known than what is, is due: most are already.
    if #kept == 0 and known ~= '' then
      due[#due + 1] = string.format('%.0f', now + ARGV[8])
      due[#due + 1] = user
    elseif #kept > 0 and known ~= 't' then
      due[#due + 1] = string.format('%.0f', now)
      due[#due + 1] = user
    end
  end
end
if #due > 0 then
  redis.call('ZADD', KEYS[2], 'NX', unpack(due))
  redis.call('PEXPIRE', KEYS[2], ARGV[7])
end
return {step[1], has_mark and '1' or '0', gone}
