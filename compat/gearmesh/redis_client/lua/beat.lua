-- A consumer lives: its counter moves.
--
-- KEYS  1 consumers (hash)
-- ARGV  1 consumer
-- Returns 1, or 0 if it is not on the list.
--
-- Fetching and waiting put it there. A heartbeat does not: one that is a moment late, from another process, would put
-- back the name of a consumer that has just left in order, or was found dead, and for a lease it would be watched.

if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HINCRBY', KEYS[1], ARGV[1], 1)
return 1
