-- Moves due messages from the delayed set of a cluster into the outbox beside it, in one step.
--
-- KEYS  1 delayed (zset)  2 outbox (hash: mark -> msgpack: list of publishes)
-- ARGV  1 msgpack: list of {message, queue}  2 mark
-- Returns the positions (from 1) of the messages that this call moved; another mover, perhaps Go's, took the others.
--
-- Their queues are in other slots, where this script can't write. See commit.lua for what a publish is.

local taken, publishes = {}, {}
for i, m in ipairs(cmsgpack.unpack(ARGV[1])) do
  if redis.call('ZREM', KEYS[1], m[1]) == 1 then
    taken[#taken + 1] = i
    publishes[#publishes + 1] = {m[2], m[1], ''}
  end
end
if #taken > 0 then redis.call('HSET', KEYS[2], ARGV[2], cmsgpack.pack(publishes)) end
return taken
