-- Records a heartbeat of a consumer: its counter becomes the server's time.
--
-- KEYS  1 consumers (hash)
-- ARGV  1 consumer
-- Returns 1, or 0 if the hash does not have this consumer.
--
-- A fetch or a blocking pop adds a consumer. A heartbeat does not: a late one, from another process, would bring back a
-- consumer that has just left, or that a reaper has found dead, and reapers would watch it for a whole lease.
-- Reapers only compare counters; people read the time in them. A fetch adds 1 to the counter, so it may be ahead of the
-- clock: a heartbeat then adds 1, too, since a counter that stands still means a dead consumer.

local counter = redis.call('HGET', KEYS[1], ARGV[1])
if not counter then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d', math.max(counter + 1, now)))
return 1
