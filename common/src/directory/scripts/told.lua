-- The contacts of these users of one bucket were told.
-- KEYS[1]  seats   KEYS[2] due   KEYS[3] telling (see claim.lua)
-- ARGV[1]  how long a user without a seat is online yet (µs)
-- ARGV[2..] user, 1 if they were told that it is online, else 0, ...
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
for i = 2, #ARGV, 2 do
  local user, told = ARGV[i], ARGV[i + 1] == '1' and 't' or ''
  local old = redis.call('HGET', KEYS[1], user) or ''
  local records = string.sub(old, 1, #old - #old % 16)
  local new = records .. told
  if new == '' then
    redis.call('HDEL', KEYS[1], user)
  elseif new ~= old then
    redis.call('HSET', KEYS[1], user, new)
  end
  redis.call('ZREM', KEYS[3], user)
  -- It may have gone, or come back, meanwhile.
  if told == 't' and records == '' then
    redis.call('ZADD', KEYS[2], string.format('%.0f', now + ARGV[1]), user)
  elseif told == '' and records ~= '' then
    redis.call('ZADD', KEYS[2], string.format('%.0f', now), user)
  else
    redis.call('ZREM', KEYS[2], user)
  end
end
return 1
