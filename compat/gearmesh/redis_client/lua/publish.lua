-- Sends new tasks to one queue: their states, which are PENDING, and the messages behind them.
--
-- KEYS  1 the queue, which stays as it is if there are no messages  2 the producer's token; only with a value for it
-- ARGV  1 the token's new value, or ""; values sort in the order of a producer's calls  2 seconds that states live
--       3 ms that the token lives  4 the number of states
--       5 … of each state its key, and its document behind the UUID (`","TaskName":…`), or the whole document, or ""
--       if it is as that of the state before
--       … the messages
-- Returns "1", or "dup": this token's batch was carried out before. An error means that nothing was changed.
--
-- commit.lua can do the same and far more, and takes the server two to four times as long. It is told of each task by a
-- table of its own; and Redis' Lua computes a hash of each text that it gets or makes, byte by byte, which for a batch
-- in one argument happens twice.

local call, byte = redis.call, string.byte
local queue, token, value, ttl = KEYS[1], KEYS[2], ARGV[1], ARGV[2]

if value ~= '' and (call('GET', token) or '') >= value then return 'dup' end
local last = 4 + 2 * ARGV[4]
local messages = #ARGV > last
if messages then call('LLEN', queue) end -- an error if it is no list
local rest
for i = 5, last, 2 do
  local key, text = ARGV[i], ARGV[i + 1]
  if text ~= '' then rest = text end
  -- 123 is {: a whole document
  call('SET', key, byte(rest) == 123 and rest or '{"TaskUUID":"' .. key .. rest, 'EX', ttl)
end
if messages then call('RPUSH', queue, unpack(ARGV, last + 1)) end
if value ~= '' then call('SET', token, value, 'PX', ARGV[3]) end
return '1'
