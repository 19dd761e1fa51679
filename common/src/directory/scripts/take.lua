-- Takes tokens from a bucket (GCRA).
-- KEYS[1]  when the bucket is full again (µs); absent: it is full
-- ARGV[1]  µs per token   ARGV[2] tokens wanted; negative: given back   ARGV[3] size of the bucket
-- Returns  0, or µs to wait
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local each = tonumber(ARGV[1])
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now) + each * ARGV[2]
local wait = full_at - now - each * ARGV[3]
-- A float's last bits are not a reason to refuse.
if wait > 0.5 and tonumber(ARGV[2]) > 0 then
  return math.ceil(wait)
end
local ttl = math.max(1, math.ceil((full_at - now) / 1000))
redis.call('SET', KEYS[1], string.format('%.0f', math.floor(full_at)), 'PX', string.format('%.0f', ttl))
return 0
