-- end_logins
-- Remembers logins that ended before their tokens did.
-- KEYS[1]  logins: zset, login -> when its last token expires (ms); -1: complete until then
-- ARGV     pairs: login, how long from now (ms)
-- Returns  those that were not known
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
local news = {}
for i = 1, #ARGV, 2 do
  local until_ms = string.format('%.0f', now + ARGV[i + 1])
  if redis.call('ZADD', KEYS[1], 'GT', until_ms, ARGV[i]) == 1 then
    news[#news + 1] = ARGV[i]
  end
end
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
if last then
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', last))
end
return news
