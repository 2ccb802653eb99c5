-- Looks at the delayed set without changing it.
--
-- KEYS  1 delayed (zset: message by the unix ns it is due at)
-- ARGV  1 most messages  2 most bytes
-- Returns msgpack: {messages that are due by the server's clock, ms until the next one that is not, or -1}

local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1e9 + time[2] * 1e3)
local room = tonumber(ARGV[2])
local due = {}
for _, body in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])) do
  if #due > 0 and #body > room then break end
  due[#due + 1] = body
  room = room - #body
end
local wait = -1
local next_ = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
if next_[2] then wait = math.ceil((tonumber(next_[2]) - tonumber(now)) / 1e6) end
return cmsgpack.pack({due, wait})
