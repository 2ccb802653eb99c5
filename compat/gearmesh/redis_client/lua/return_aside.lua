-- Returns parked messages that are due to the tail of their queue.
--
-- KEYS  1 aside (zset: "<unique>/<SHA-1 of the task's name>\n<message>" by unix ms)  2 queue
--       3 out (hash: SHA-1 of a task's name -> how many of its messages were returned last and have not come back)
--       4 grace (string: unix ms until which gearmesh consumers leave returned messages to other programs. As long as
--         the key exists, they leave them to consumers that have not met them)  5 consumers (hash)
-- ARGV  1 most messages  2 prefix of the "wanted" keys  3 ms of grace, the first half for other programs
--       4, 5 prefixes of "held", "arrived"
-- Returns ms until the next one is due; 0 if there are more now; -1 if there are none.
--
-- A message that was returned, did not come back, and neither waits nor is held by a gearmesh consumer was taken by
-- another program (a Go worker): the names of such tasks are "wanted" for 5 s, and their messages parked for only
-- 50 ms.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local counts = {}
local size, left = 0, false
-- Counts all places in which returned messages may be that no other program has taken.
local elsewhere = redis.call('LLEN', KEYS[2])
for _, consumer in ipairs(redis.call('HKEYS', KEYS[5])) do
  elsewhere = elsewhere + redis.call('HLEN', ARGV[4] .. consumer) + redis.call('LLEN', ARGV[5] .. consumer)
end
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])) do
  if size > 1048576 then
    left = true
    break
  end
  local at = string.find(member, '\n', 1, true)
  local name = string.sub(member, at - 40, at - 1)
  counts[name] = (counts[name] or 0) + 1
  redis.call('RPUSH', KEYS[2], string.sub(member, at + 1))
  redis.call('ZREM', KEYS[1], member)
  size = size + #member
end
if size > 0 then
  for name, count in pairs(counts) do
    local missing = tonumber(redis.call('HGET', KEYS[3], name) or 0)
    if missing > elsewhere then
      redis.call('SET', ARGV[2] .. name, 1, 'PX', 5000)
    else
      count = count + math.max(0, missing)
    end
    redis.call('HSET', KEYS[3], name, count)
  end
  redis.call('EXPIRE', KEYS[3], 86400)
  redis.call('SET', KEYS[4], string.format('%d', now + ARGV[3] / 2), 'PX', ARGV[3])
end
if left then return 0 end
local next_ = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if not next_[2] then return -1 end
return math.max(0, tonumber(next_[2]) - now)
