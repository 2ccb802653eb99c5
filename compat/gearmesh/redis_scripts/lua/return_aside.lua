-- Returns messages that were set aside, and whose time has come, to the tail of their queue.
--
-- KEYS  1 aside (zset: "<unique prefix>\n<message>" by unix ms)  2 queue
-- ARGV  1 how many at the most
-- Returns ms until the next one is due; 0 if there are more now; -1 if there are none.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
local size = 0
for i, member in ipairs(due) do
  local at = string.find(member, '\n', 1, true)
  redis.call('RPUSH', KEYS[2], string.sub(member, at + 1))
  redis.call('ZREM', KEYS[1], member)
  size = size + #member
  if size > 1048576 then return 0 end
end
local next_ = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if not next_[2] then return -1 end
return math.max(0, tonumber(next_[2]) - now)
