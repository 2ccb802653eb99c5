-- Counts a heartbeat of a consumer.
--
-- KEYS  1 consumers (hash)
-- ARGV  1 consumer
-- Returns 1, or 0 if it is not on the list.
--
-- A fetch or a blocking pop puts it there. A heartbeat does not: a late one, from another process, would put back the
-- name of a consumer that has just left in order, or was found dead, and reapers would watch it for a lease.

if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HINCRBY', KEYS[1], ARGV[1], 1)
return 1
