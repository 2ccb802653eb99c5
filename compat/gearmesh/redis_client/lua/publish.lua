-- Publishes one new task: its state PENDING, and the message behind it.
--
-- KEYS  1 the state  2 the queue
-- ARGV  1 the state's document  2 seconds that it lives  3 the message
-- Returns 1. An error means that nothing was changed.
--
-- commit.lua can do the same and far more, and takes the server four times as long: it unpacks a batch, and is prepared
-- for deliveries, chords and dead letters.

local kind = redis.call('TYPE', KEYS[2]).ok
if kind ~= 'list' and kind ~= 'none' then
  return redis.error_reply('WRONGTYPE ' .. KEYS[2] .. ' is a ' .. kind .. ', no list')
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
redis.call('RPUSH', KEYS[2], ARGV[3])
return 1
