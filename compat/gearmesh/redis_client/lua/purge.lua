-- Deletes what waits in a queue or is set aside from it.
--
-- KEYS  1 queue  2 aside (zset)
-- Returns how many there were.
--
-- The length first: a key that is no list is nobody's queue, and the script ends there with an error.

local count = redis.call('LLEN', KEYS[1]) + redis.call('ZCARD', KEYS[2])
redis.call('UNLINK', KEYS[1], KEYS[2])
return count
