-- Returns for how long the heartbeat counters of the other consumers of a queue have stood still.
--
-- KEYS  1 consumers (hash)  2 watched (hash)
-- ARGV  1 consumer that calls this  2 ms by which a silence must be longer than the stored one to replace it
--       then for each other consumer: its name, its heartbeat counter, the ms for which the caller saw no other value
-- Returns (msgpack) [name, counter, ms] for each other consumer; ms is the longest time for which a watcher saw no
-- other value.
--
-- "watched" keeps "<counter> <ms>" for each consumer. A watcher counts only the time for which it is connected, and
-- goes on from the time that another watcher has stored: a watcher that dies, or loses its connection, leaves its
-- evidence behind. As each takes the longest time and never a sum, no watcher counts more time than has passed.

local own = {}
for i = 3, #ARGV, 3 do
  own[ARGV[i]] = {ARGV[i + 1], tonumber(ARGV[i + 2])}
end
local told = {}
local rows = redis.call('HGETALL', KEYS[2])
for i = 1, #rows, 2 do
  told[rows[i]] = rows[i + 1]
end

local found = {}
rows = redis.call('HGETALL', KEYS[1])
for i = 1, #rows, 2 do
  local name, counter = rows[i], rows[i + 1]
  local ms = 0
  if own[name] and own[name][1] == counter then ms = own[name][2] end
  local known = 0
  if told[name] then
    local then_counter, then_ms = string.match(told[name], '^(%d+) (%d+)$')
    if then_counter == counter then
      known = tonumber(then_ms)
    else
      redis.call('HDEL', KEYS[2], name)
    end
    told[name] = nil
  end
  if name ~= ARGV[1] then
    if ms >= known + tonumber(ARGV[2]) then
      redis.call('HSET', KEYS[2], name, counter .. string.format(' %d', ms))
      redis.call('EXPIRE', KEYS[2], 86400)
    end
    found[#found + 1] = {name, counter, math.max(ms, known)}
  end
end
for name in pairs(told) do -- this consumer is gone
  redis.call('HDEL', KEYS[2], name)
end
return cmsgpack.pack(found)
