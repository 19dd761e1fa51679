-- Ends the lease of a node.
-- KEYS[1]  leases   KEYS[2] since (see keep.lua)
-- ARGV[1]  node
redis.call('ZREM', KEYS[1], ARGV[1])
return redis.call('HDEL', KEYS[2], ARGV[1])
