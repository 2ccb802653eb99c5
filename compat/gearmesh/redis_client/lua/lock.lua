-- Lets one scheduler send a firing, and excludes the others, Go's among them.
--
-- KEYS  1 Machinery's lock (string: unix ns until which no other scheduler fires)
--       2 the last firing (string: unix ns at which it was due, a space, the scheduler that sent it)
-- ARGV  1 new value of the lock, or '' for a late firing, which leaves the lock alone
--       2 ms for which the lock lives
--       3 unix ns at which it was due
--       4 the scheduler that asks
--       5 ms for which the last firing is stored
-- Returns 1 if this scheduler is to send the firing, 0 if not; the lock's value if that is no number.
--
-- Moments are compared as texts: a number of Lua has 53 bits, unix ns need 61.

local function before(a, b)
  if #a ~= #b then return #a < #b end
  return a < b
end

local value, due, who = ARGV[1], ARGV[3], ARGV[4]
local fired = redis.call('GET', KEYS[2])
-- This scheduler asks again, since it did not get the answer.
if fired == due .. ' ' .. who then return 1 end

if value == '' then
  if fired and not before(string.match(fired, '^%d*'), due) then return 0 end
else
  local held = redis.call('GET', KEYS[1])
  if held then
    if not string.match(held, '^%d+$') then return held end
    if not before(held, due) then return 0 end
  end
  redis.call('SET', KEYS[1], value, 'PX', ARGV[2])
end
redis.call('SET', KEYS[2], due .. ' ' .. who, 'PX', ARGV[5])
return 1
