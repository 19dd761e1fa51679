-- Remembers a login that ended before its tokens did.
-- KEYS[1]  logins: zset, login -> when its last token expires (ms)
-- ARGV[1]  login   ARGV[2] how long from now (ms)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
redis.call('ZADD', KEYS[1], 'GT', string.format('%.0f', now + ARGV[2]), ARGV[1])
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
return redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', last))
