-- Sends new tasks to one queue: stores their PENDING states, and then pushes the messages.
--
-- KEYS  1 the queue; without messages it is not changed  2 the producer's token; only if ARGV[1] has a value for it
-- ARGV  1 the token's new value, or ""; values sort in the order of a producer's calls  2 seconds that states live
--       3 ms that the token lives  4 the number of states
--       5 … for each state its key, and its document from behind the UUID on (`","TaskName":…`), or the whole document,
--       or "" if it has the same text behind the UUID as the state before
--       … the messages
-- Returns "1", or "dup": this token's batch was carried out before. An error means that nothing was changed.
--
-- commit.lua can do the same, but takes the server two to four times as long: it receives a table for each task, and
-- Redis' Lua computes a hash of each text that it receives or makes, byte by byte. For a batch in one argument, it
-- hashes each message twice.

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
