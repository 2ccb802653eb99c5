-- Returns the deliveries that a consumer holds to the head of its queue, in their old order.
--
-- KEYS  1 queue  2 held (hash)  3 arrived (list)  4 consumers (hash)  5 recovered (hash)
-- ARGV  1 consumer  2 its heartbeat counter as observed, or "" if the consumer is known to be dead or calls this itself
--       3 most messages of this call  4 "1": count the loss of each message in "recovered"
--       5 "1": remove the consumer from the hash of consumers
--       6 numbers of the messages that ran when it died, separated by spaces; "?" if they are not known
--       7 "1": a running message ended the process; else it may have been killed for another reason
-- Returns {how many were returned, 1 if there are more}; {-1, 0} if the consumer's counter has changed since.
--
-- A live consumer's counter moves, so a reaper that watched it stand still for a whole lease may take its messages; if
-- the consumer lives after all, its later commits find their entries gone.
-- A consumer that a supervisor reports as dead stays in the hash until a reaper finds it silent: a proxy may keep its
-- blocking pop open a little longer, and a reaper must find the message that this pop moves to "arrived". Until then
-- its counter is 0.

-- For each message, "recovered" keeps "<times lost>", or for a suspect "<times lost> <deaths while it ran alone>". A
-- message that ran when its process died is suspect; one that merely waited is not. If it is not certain that a running
-- message ended the process, the message becomes suspect when it was lost twice, and a death counts a quarter.

local most = tonumber(ARGV[3])
if ARGV[2] ~= '' and redis.call('HGET', KEYS[4], ARGV[1]) ~= ARGV[2] then
  return {-1, 0}
end

local running, ran = {}, 0
for id in string.gmatch(ARGV[6], '%d+') do
  running[id] = true
  ran = ran + 1
end

local function count_against(body, id, held)
  local digest = redis.sha1hex(body)
  local old = redis.call('HGET', KEYS[5], digest) or '0'
  local lost, deaths = string.match(old, '^(%d+) ?([%d.]*)$')
  lost, deaths = lost + 1, tonumber(deaths)
  local unknown, certain = ARGV[6] == '?', ARGV[7] == '1'
  if unknown or running[id] then
    if not deaths and (certain or lost > 1) then deaths = 0 end
    if deaths and (unknown and held or ran) == 1 then deaths = deaths + (certain and 1 or 0.25) end
  end
  redis.call('HSET', KEYS[5], digest, lost .. (deaths and (' ' .. deaths) or ''))
  redis.call('EXPIRE', KEYS[5], 86400)
end

-- The newest go first, each to the head of the queue, so the oldest ends up there.
local count = 0
while count < most do
  if not redis.call('LMOVE', KEYS[3], KEYS[1], 'RIGHT', 'LEFT') then break end
  count = count + 1
end
local ids = redis.call('HKEYS', KEYS[2])
table.sort(ids, function(a, b) return tonumber(a) > tonumber(b) end)
local done = 0
for _, id in ipairs(ids) do
  if count >= most then break end
  local body = redis.call('HGET', KEYS[2], id)
  if ARGV[4] == '1' then
    count_against(body, id, #ids)
  end
  redis.call('LPUSH', KEYS[1], body)
  redis.call('HDEL', KEYS[2], id)
  count = count + 1
  done = done + 1
end
if done < #ids or redis.call('EXISTS', KEYS[3]) == 1 then return {count, 1} end
if ARGV[5] == '1' then
  redis.call('HDEL', KEYS[4], ARGV[1])
elseif redis.call('HEXISTS', KEYS[4], ARGV[1]) == 1 then
  redis.call('HSET', KEYS[4], ARGV[1], 0) -- people then see that it is no live worker, unless its counter moves again
end
return {count, 0}
