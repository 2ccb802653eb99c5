-- Stores that tasks are revoked, and tells the workers that listen.
--
-- KEYS  1 revoked tasks (zset: UUID, by the unix ms at which its revocation ends)
-- ARGV  1 channel, 2 message for it, 3 ms for which it is stored, 4... UUIDs
--
-- It uses the server's clock, which all workers share, and deletes expired revocations on the way. It never makes a
-- revocation shorter.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lasts = tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
for i = 4, #ARGV do
  redis.call('ZADD', KEYS[1], 'GT', string.format('%.0f', now + lasts), ARGV[i])
end
if redis.call('PTTL', KEYS[1]) < lasts then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
redis.call('PUBLISH', ARGV[1], ARGV[2])
