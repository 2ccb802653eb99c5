-- Sends one task whose UUID was made for this call: stores its PENDING state, and then pushes the message.
--
-- KEYS  1 the queue  2 the state's key, which is the UUID
-- ARGV  1 the state's document  2 seconds that states live  3 the message
-- Returns "1", or "dup": there is a state, so this call was carried out before. An error means that nothing was
-- changed.
--
-- It needs no token, since no other call can have stored a state under this key. So Redis carries out two commands
-- where publish.lua needs five.

if not redis.call('SET', KEYS[2], ARGV[1], 'NX', 'EX', ARGV[2]) then return 'dup' end
local pushed = redis.pcall('RPUSH', KEYS[1], ARGV[3])
if type(pushed) == 'table' then -- an error: the key is no list
  redis.call('DEL', KEYS[2])
  return pushed
end
return '1'
