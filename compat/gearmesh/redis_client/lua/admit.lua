-- Reserves the next free moments of tasks with a rate.
--
-- KEYS  1 queue (routes the call)
-- ARGV  1 msgpack: list of {key of the task's next free moment (string, unix us),
--                           key of its reservations (hash: SHA-1 of a message -> how many), us between two runs, message}
-- Returns a number for each message: 0 if it may run now, else the unix ms of its reserved moment. A message that
-- comes back at its moment finds its reservation and runs, so no message is put off twice.

local time = redis.call('TIME')
local now = time[1] * 1e6 + tonumber(time[2])
local answers = {}
for i, r in ipairs(cmsgpack.unpack(ARGV[1])) do
  local digest = redis.sha1hex(r[4])
  local reserved = tonumber(redis.call('HGET', r[2], digest) or 0)
  if reserved > 0 then
    if redis.call('HINCRBY', r[2], digest, -1) <= 0 then redis.call('HDEL', r[2], digest) end
    answers[i] = 0
  else
    local free = math.max(now, tonumber(redis.call('GET', r[1]) or 0))
    local next_ = string.format('%.0f', free + r[3])
    redis.call('SET', r[1], next_, 'PX', string.format('%.0f', math.ceil((free + r[3] - now) / 1000) + 1000))
    if free <= now then
      answers[i] = 0
    else
      redis.call('HINCRBY', r[2], digest, 1)
      local keep = math.ceil((free - now) / 1e6) + 86400
      if redis.call('TTL', r[2]) < keep then redis.call('EXPIRE', r[2], keep) end
      answers[i] = math.ceil(free / 1000)
    end
  end
end
return answers
