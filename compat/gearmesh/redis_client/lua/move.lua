-- Moves due messages from the delayed set to their queues, each at most once among all movers, Go's included.
--
-- KEYS  1 delayed (zset)
-- ARGV  1 msgpack: list of {message, queue}  2 queue whose dead letters take the messages that can't be moved
--       3 its dead letters (zset)  4 prefix of its dead letters
-- Returns how many were moved by this call.
--
-- A message whose queue's key is no list can never be moved, and would stay at the front of the delayed set.

local moved = 0
for _, m in ipairs(cmsgpack.unpack(ARGV[1])) do
  if redis.call('ZREM', KEYS[1], m[1]) == 1 then
    local answer = redis.pcall('RPUSH', m[2], m[1])
    if type(answer) == 'table' then
      local time = redis.call('TIME')
      local now = time[1] * 1000 + math.floor(time[2] / 1000)
      local digest = redis.sha1hex(m[1])
      local key = ARGV[4] .. digest
      redis.call('HSETNX', key, 'first', now)
      redis.call('HINCRBY', key, 'count', 1)
      redis.call('HSET', key, 'last', now, 'reason', 'due for ' .. m[2] .. ': ' .. answer.err, 'body', m[1],
        'queue', ARGV[2])
      redis.call('ZADD', ARGV[3], now, digest)
    else
      moved = moved + 1
    end
  end
end
return moved
