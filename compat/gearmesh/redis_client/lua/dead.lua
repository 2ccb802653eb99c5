-- Deletes dead letters, and with "retry" puts them back at the tail of their queue.
--
-- KEYS  1 dead (zset: SHA-1 of a dead letter by unix ms)  2 queue
-- ARGV  1 prefix of the dead letters' hashes  2 "retry" or "drop"  3... SHA-1s, at most 256
-- Returns how many of them there were.

local count = 0
for i = 3, #ARGV do
  local key = ARGV[1] .. ARGV[i]
  local body = redis.call('HGET', key, 'body')
  if body then
    if ARGV[2] == 'retry' then redis.call('RPUSH', KEYS[2], body) end
    redis.call('DEL', key)
    count = count + 1
  end
  redis.call('ZREM', KEYS[1], ARGV[i])
end
return count
