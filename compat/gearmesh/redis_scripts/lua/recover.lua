-- Puts what a consumer holds back at the head of its queue, in its old order.
--
-- KEYS  1 queue  2 held (hash)  3 arrived (list)  4 consumers (hash)  5 recovered (hash)
-- ARGV  1 consumer  2 its heartbeat counter as observed, or "" if it is known to be dead or asks itself
--       3 how many at the most in this call  4 "1": count it against the messages
-- Returns {how many were put back, 1 if there is more}; {-1, 0} if the consumer has moved since.
--
-- A live consumer's counter moves, so whoever watched it stand still for a whole lease may take its messages;
-- the zombie's later commits find their entry gone.

local most = tonumber(ARGV[3])
if ARGV[2] ~= '' and redis.call('HGET', KEYS[4], ARGV[1]) ~= ARGV[2] then
  return {-1, 0}
end

-- the newest first, each before all others: the oldest ends up at the head
local count = 0
while count < most do
  local body = redis.call('RPOP', KEYS[3])
  if not body then break end
  redis.call('LPUSH', KEYS[1], body)
  count = count + 1
end
local ids = redis.call('HKEYS', KEYS[2])
table.sort(ids, function(a, b) return tonumber(a) > tonumber(b) end)
local done = 0
for _, id in ipairs(ids) do
  if count >= most then break end
  local body = redis.call('HGET', KEYS[2], id)
  if ARGV[4] == '1' then
    redis.call('HINCRBY', KEYS[5], redis.sha1hex(body), 1)
    redis.call('EXPIRE', KEYS[5], 86400)
  end
  redis.call('LPUSH', KEYS[1], body)
  redis.call('HDEL', KEYS[2], id)
  count = count + 1
  done = done + 1
end
if done < #ids or redis.call('EXISTS', KEYS[3]) == 1 then return {count, 1} end
redis.call('HDEL', KEYS[4], ARGV[1])
return {count, 0}
