-- Settles deliveries of tasks that have succeeded: deletes their messages and stores SUCCESS.
--
-- KEYS  1 the hash in which the consumer holds the deliveries
-- ARGV  1 seconds that states live, or "" if states are elsewhere  2 channel for final UUIDs, or ""
--       3 … for each delivery its fetch id, the state's key (or "": it has none), the results as JSON
-- Returns one character for each delivery:
--   "1" done
--   "0" nothing happened: the delivery is not held any more
--   "?" nothing happened: the stored state is in another form, or its key of another type; commit.lua handles these
--
-- The channel gets the UUIDs. If there is only one, and its state is short, the channel gets the state instead, so that
-- a waiting program need not read it.
--
-- Nearly all deliveries are of this kind, and commit.lua takes the server half as long again for each. As there, a
-- document keeps the stored name and time of creation.

local MAX_ANNOUNCED_STATE_BYTES = 1024

local find, sub, call = string.find, string.sub, redis.call
local held, ttl, announce = KEYS[1], ARGV[1], ARGV[2]

local keys = {}
for i = 4, #ARGV, 3 do keys[#keys + 1] = ARGV[i] end
local stored = ttl ~= '' and call('MGET', unpack(keys)) or {}

-- Returns the name and the time as they stand in a document of the form that Go and gearmesh write, or nil.
local function parts_of(document)
  local at = find(document, ',"State":"', 1, true)
  local from = at and find(document, '"TaskName":"', 1, true)
  local born = from and find(document, ',"CreatedAt":"', at, true)
  local stop = born and find(document, '"', born + 14, true)
  if not stop or from > at then return nil end
  local name = sub(document, from + 11, at - 1)
  if find(name, '","', 1, true) then return nil end
  return name, sub(document, born + 13, stop)
end

local codes, finals, state = {}, {}, nil
for k, key in ipairs(keys) do
  local document, name, created
  if key ~= '' and stored[k] then
    name, created = parts_of(stored[k])
  elseif key ~= '' and call('TYPE', key).ok == 'none' then
    name, created = '""', '"0001-01-01T00:00:00Z"'
  end
  if key ~= '' and not name then
    codes[k] = '?'
  elseif call('HDEL', held, ARGV[3 * k]) == 0 then
    codes[k] = '0'
  else
    codes[k] = '1'
    if key ~= '' then
      state = '{"TaskUUID":"' .. key .. '","TaskName":' .. name .. ',"State":"SUCCESS","Results":'
        .. ARGV[3 * k + 2] .. ',"Error":"","CreatedAt":' .. created .. ',"TTL":0}'
      call('SET', key, state, 'EX', ttl)
      finals[#finals + 1] = key
    end
  end
end
if announce ~= '' and #finals > 0 then
  local alone = #finals == 1 and #state <= MAX_ANNOUNCED_STATE_BYTES
  call('PUBLISH', announce, alone and state or table.concat(finals, ' '))
end
return table.concat(codes)
