-- Deletes the messages that wait in a queue or are parked.
--
-- KEYS  1 queue  2 aside (zset)
-- Returns how many there were.
--
-- LLEN comes first: if the key is no list, the script ends there with an error and deletes nothing.

local count = redis.call('LLEN', KEYS[1]) + redis.call('ZCARD', KEYS[2])
redis.call('UNLINK', KEYS[1], KEYS[2])
return count
