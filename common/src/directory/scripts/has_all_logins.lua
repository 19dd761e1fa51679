-- has_all_logins
-- Whether all ended logins are here: the mark is, and holds.
-- KEYS[1]  logins (see end_logins.lua)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local mark = redis.call('ZSCORE', KEYS[1], '-1')
if mark and tonumber(mark) > now then
  return 1
end
return 0
