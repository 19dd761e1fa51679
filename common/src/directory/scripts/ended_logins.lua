-- The logins that ended early and whose tokens could still be valid.
-- KEYS[1]  logins (see end_logins.lua)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return redis.call('ZRANGEBYSCORE', KEYS[1], string.format('(%.0f', now), '+inf')
