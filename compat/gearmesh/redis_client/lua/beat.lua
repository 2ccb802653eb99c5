-- Records a heartbeat of a consumer: its counter becomes the server's time.
--
-- KEYS  1 consumers (hash)
-- ARGV  1 consumer
-- Returns 1, or 0 if it is not on the list.
--
-- A fetch or a blocking pop puts it there. A heartbeat does not: a late one, from another process, would put back the
-- name of a consumer that has just left in order, or was found dead, and reapers would watch it for a lease.
-- Reapers compare counters only. The time in it is for people; fetches add 1 to it, so it never stands still.

local counter = redis.call('HGET', KEYS[1], ARGV[1])
if not counter then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d', math.max(counter + 1, now)))
return 1
