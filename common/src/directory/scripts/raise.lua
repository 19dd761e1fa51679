-- Raises heads of one bucket; they never fall.
-- KEYS[1]  heads: hash, conversation -> seq
-- ARGV[1]  ttl of the hash (ms), counted from its beginning   ARGV[2..] conversation, seq, ...
-- One read and one write for all: a command inside a script costs as much as the rest of it.
local wanted, order = {}, {}
for i = 2, #ARGV, 2 do
  local conversation, seq = ARGV[i], ARGV[i + 1]
  if not wanted[conversation] then
    order[#order + 1] = conversation
    wanted[conversation] = seq
  elseif tonumber(wanted[conversation]) < tonumber(seq) then
    wanted[conversation] = seq
  end
end
local raised = {}
for i, head in ipairs(redis.call('HMGET', KEYS[1], unpack(order))) do
  local conversation = order[i]
  if not head or tonumber(head) < tonumber(wanted[conversation]) then
    raised[#raised + 1] = conversation
    raised[#raised + 1] = wanted[conversation]
  end
end
if #raised > 0 then
  redis.call('HSET', KEYS[1], unpack(raised))
end
return redis.call('PEXPIRE', KEYS[1], ARGV[1], 'NX')
