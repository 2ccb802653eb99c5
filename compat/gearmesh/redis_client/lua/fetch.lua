-- Moves messages from a queue into the hash of a consumer, each under the consumer's next number.
--
-- KEYS  1 queue  2 held (hash)  3 arrived (list)  4 consumers (hash)  5 recovered (hash)  6 grace (string)
-- ARGV  1 consumer  2 first number  3 most messages  4 most bytes (one message always goes)
--       5 prefix of the "seen" keys  6 "1": the client reads a list of texts quickly
-- With "1", and if there is nothing else to report, returns the messages alone: Redis' Lua would hash a packed text
-- once more. Else returns msgpack: {messages,
--   for each its value in "recovered" (see recover.lua), "0" if it has none; or false if that hash does not exist,
--   ms for which messages in the queue are left to others (0: none is)}
--
-- The messages that a blocking pop moved to "arrived" come first, so the order is the queue's.
-- Deliveries have numbers, since two of them may carry the same UUID.

local first, most, room = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local taken = {}

local function take(list)
  local step = 1
  while #taken < most and room > 0 do
    local items = redis.pcall('LPOP', list, math.min(step, most - #taken))
    if not items then return end
    if items.err then return items end -- the key is no list
    local size = 0
    for _, body in ipairs(items) do
      taken[#taken + 1] = body
      size = size + #body
    end
    room = room - size
    if #items < step then return end
    -- the next pop takes as many messages of this size as surely fit
    step = math.max(1, math.min(most, math.floor(room / (2 * (size / #items) + 1))))
  end
end

-- A lower counter belongs to a consumer that is new here. It becomes the server's time, as at a heartbeat, so that
-- people can see since when a consumer is silent. (10^12 unix ms are in the year 2001.)
if redis.call('HINCRBY', KEYS[4], ARGV[1], 1) < 1e12 then
  local time = redis.call('TIME')
  redis.call('HSET', KEYS[4], ARGV[1], string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000)))
end
redis.call('HLEN', KEYS[2]) -- an error if it is no hash, before anything is taken
take(KEYS[3])
local failed = take(KEYS[1])
if failed and #taken == 0 then return failed end

-- While this key exists, parked messages have just been returned. Other programs go first, then the consumers that have
-- not met the message: else a consumer that does not know the task could be the first one again and again.
local grace = math.max(0, redis.call('PTTL', KEYS[6]))
if grace > 0 then
  local said, time = redis.pcall('GET', KEYS[6]), redis.call('TIME')
  local others_until = type(said) == 'string' and tonumber(said) or 0
  local from_all = time[1] * 1000 + math.floor(time[2] / 1000) < others_until
  local consumer = ' ' .. string.sub(redis.sha1hex(ARGV[1]), 1, 8)
  local ours, others = {}, {}
  for _, body in ipairs(taken) do
    local seen = redis.pcall('GET', ARGV[5] .. redis.sha1hex(body))
    local left = type(seen) == 'string' and (from_all or string.find(seen, consumer, 1, true))
    local list = left and others or ours
    list[#list + 1] = body
  end
  for i = #others, 1, -1 do redis.call('LPUSH', KEYS[1], others[i]) end
  taken = ours
  if #others == 0 then grace = 0 end
end
if #taken == 0 then return cmsgpack.pack({{}, false, grace}) end

local pairs_ = {}
for i, body in ipairs(taken) do
  pairs_[2 * i - 1] = string.format('%d', first + i - 1) -- Redis would write it as a fraction, which takes longer
  pairs_[2 * i] = body
end
redis.call('HSET', KEYS[2], unpack(pairs_))

if redis.call('EXISTS', KEYS[5]) == 0 then
  if ARGV[6] == '1' and grace == 0 then return taken end
  return cmsgpack.pack({taken, false, grace})
end
local lost = {}
for i, body in ipairs(taken) do
  local said = redis.pcall('HGET', KEYS[5], redis.sha1hex(body))
  -- A key of another type has no counts. That is no error here, since the consumer already holds these messages.
  lost[i] = type(said) == 'string' and said or '0'
end
return cmsgpack.pack({taken, lost, grace})
