-- Moves due messages from the delayed set to their queues, each at most once among all movers, Go's included.
--
-- KEYS  1 delayed (zset)
-- ARGV  1 msgpack: list of {message, queue}
-- Returns how many were moved by this call.

local moved = 0
for _, m in ipairs(cmsgpack.unpack(ARGV[1])) do
  if redis.call('ZREM', KEYS[1], m[1]) == 1 then
    redis.call('RPUSH', m[2], m[1])
    moved = moved + 1
  end
end
return moved
