-- Carries out Commits: makes all changes of a batch of deliveries (or publishes) in one step.
--
-- KEYS[1]  any key of the batch's slot; it only routes the call. The other keys are in the payload.
-- ARGV[1]  msgpack: {token key or "", token value, seconds states live, entries, groups, key of the delayed set,
--                    channel for final UUIDs or "", [ms the token lives, outbox key, mark, true: documents in
--                    another form are taken as they are]};
--                    token values sort in the order of a producer's calls
--   entry  {held key or "", fetch id, how, states, publishes, group index or 0, trigger or nil, settling or nil,
--           publishes to other slots of the cluster or nil}
--     how        0 keep, 1 ack, 2 head, 3 tail, 4 park, 5 dead, 6 later
--     state      {key, document}                               stored as it is (PENDING)
--             or {key, its text before TaskName, state, its text between TaskName and CreatedAt,
--                 [state that it never replaces]}                                              merged
--     publish    {queue, bytes, ETA in unix ns or "", [dead key, dead prefix]}; without a queue it goes to the delayed
--                set even if it is due; with a dead key it becomes a dead letter if the queue's key has another type
--     trigger    {key of GroupMeta, key of the taker, taker, states, publishes, [true: the caller has the chord mutex]}:
--                states and publishes only for the winner
--     settling   {queue, recovered key or "", ...}; park: {.., .., seen prefix, aside key, member prefix, max age ms,
--                dead key, dead prefix, name, out key, wanted prefix}; dead: {.., .., dead key, dead prefix, reason};
--                later: {.., .., aside key, member prefix, unix ms}
--   group  {progress key, members, first index given (0-based), UUIDs from there on}
-- Returns {one character for each entry, then for each group how many leading members are known to be final}, or the
-- characters alone if there are no groups and nothing else to report:
--   "1" done
--   "0" nothing happened: the delivery is not held any more, since its lease has ended or the same Commit was done before
--   "c" the states are written, the delivery stays unacked: the group is complete
--   "m" the states are written, the delivery stays unacked: more UUIDs of the group are needed
--   "b" nothing happened: the chord mutex is held
--   "t" settled, but another worker had taken the chord's trigger
--   "g" settled, but the GroupMeta is gone
--   "x" done, and a message that was to be parked was too old and became a dead letter
--   "e" nothing happened, and a repetition would fail, too; after the groups comes a list with the reason of each "e"
--   "s" nothing happened: a stored document is in another form than the one in which Go and gearmesh write it
--   "o" the states are written, the delivery stays unacked: a stored document is in another form. After the reasons
--       comes a list of {key, "state" or "group"} for "s" and "o". The caller rewrites these, and repeats the entries
--   or {"dup"}: this token's batch was carried out before.
-- An error means that nothing was sent and nothing settled.
--
-- A command that fails would end the script in the middle and leave the rest undone. So the script looks for keys of
-- another type before it changes anything. (A server that cannot write now refuses the first write.)
--
-- The script cannot publish to other slots. It writes such publishes into the outbox (hash: mark -> msgpack: list of
-- publishes) in the step in which it settles their entries, and any consumer that finds them there sends them.
--
-- It is a script because a worker that lost its lease must change nothing, and a crash must leave all changes or none.
-- It handles JSON as text, since cjson turns [] into {} and damages large integers. It searches for texts with
-- unescaped quotes, which cannot be part of a string inside the document. It finds them only in the form that Go and
-- gearmesh write: no spaces, no other letter case, no field left out.

local find, sub, call = string.find, string.sub, redis.call
local batch = cmsgpack.unpack(ARGV[1])
local token, token_value, entries, groups = batch[1], batch[2], batch[4], batch[5]
local ttl = string.format('%d', batch[3])
local delayed, announce = batch[6], batch[7]
local token_ttl, outbox, mark, as_they_are = batch[8], batch[9], batch[10], batch[11]

if token ~= '' and (call('GET', token) or '') >= token_value then
  return {'dup'}
end

local clock
local function now_ms()
  if not clock then clock = call('TIME') end
  return clock[1] * 1000 + math.floor(clock[2] / 1000)
end

local finals = {}

local function is_final(state)
  return state == 'SUCCESS' or state == 'FAILURE'
end

-- Returns the position of ',"State":"' in a document, and the state's word; nil and '' if they are not found.
local function state_of(document)
  local at = find(document, ',"State":"', 1, true)
  if not at then return nil, '' end
  local stop = find(document, '"', at + 10, true)
  if not stop then return nil, '' end -- only the beginning of a document
  return at, sub(document, at + 10, stop - 1)
end

-- Returns the word, the name and the time of a stored state, as they stand in the document; '' or nil for a part that
-- is not found. Then true if the document is in the form of Go and gearmesh: there the name is one string, right before
-- the state.
local function parts_of(document)
  local at, stored = state_of(document)
  local from = find(document, '"TaskName":', 1, true)
  local name = at and from and sub(document, from + 11, at - 1)
  local born = find(document, ',"CreatedAt":"', at or 1, true)
  local stop = born and find(document, '"', born + 14, true)
  local created = stop and sub(document, born + 13, stop)
  local usual = name and created and sub(name, 1, 1) == '"' and not find(name, '","', 1, true)
  return stored, name, created, usual
end

-- Returns the document to store, or false if nothing changes; nil and the error if the key is of another type;
-- nil, nil and true if the stored document is in another form.
local function compose(s)
  local key, head, word, middle, kept = s[1], s[2], s[3], s[4], s[5]
  if not word then return head end
  local name, created = '""', '"0001-01-01T00:00:00Z"'
  local old = redis.pcall('GET', key)
  if old then
    if old.err then return nil, 'state ' .. key .. ': ' .. old.err end
    local stored, found, born, usual = parts_of(old)
    if not (usual or as_they_are) then return nil, nil, true end
    if (word == 'RECEIVED' or word == 'STARTED') and is_final(stored) then return false end
    if kept and stored == kept then return false end
    if usual then name, created = found, born end
  end
  return head .. name .. middle .. created .. ',"TTL":0}'
end

local function store(s, document)
  if not document then return end
  local key, word = s[1], s[3]
  call('SET', key, document, 'EX', ttl)
  if word and is_final(word) then finals[#finals + 1] = word == 'FAILURE' and '!' .. key or key end
end

local function write(s)
  store(s, compose(s))
end

local kinds = {}

-- Returns the reason why `key` can't take messages, or nil if it can.
local function blocked(key, kind)
  local found = kinds[key]
  if not found then
    found = call('TYPE', key).ok
    kinds[key] = found
  end
  if found ~= kind and found ~= 'none' then return 'WRONGTYPE ' .. key .. ' is a ' .. found .. ', no ' .. kind end
end

local function refused(publishes)
  for _, p in ipairs(publishes) do
    local queue, eta, dead = p[1], p[3], p[4]
    local why = queue ~= '' and not dead and blocked(queue, 'list') or (eta ~= '' and blocked(delayed, 'zset'))
    if why then return why end
  end
end

-- Returns the reason why one of the states can't be stored; or nil, and the key of a stored document in another form.
local function unwritable(states)
  local odd
  for _, s in ipairs(states) do
    local key, word = s[1], s[3]
    local old = word and redis.pcall('GET', key)
    if type(old) == 'table' then return 'state ' .. key .. ': ' .. old.err end
    if old and not as_they_are then
      local _, _, _, usual = parts_of(old)
      if not usual then odd = key end
    end
  end
  return nil, odd
end

local function dead_letter(queue, dead, prefix, body, reason)
  local digest = redis.sha1hex(body)
  local key = prefix .. digest
  call('HSETNX', key, 'first', now_ms())
  call('HINCRBY', key, 'count', 1)
  call('HSET', key, 'last', now_ms(), 'reason', reason, 'body', body, 'queue', queue)
  call('ZADD', dead, now_ms(), digest)
end

local function send(p)
  local queue, body, eta, dead, prefix = p[1], p[2], p[3], p[4], p[5]
  local why = dead and blocked(queue, 'list')
  if why then
    dead_letter(queue, dead, prefix, body, why)
  elseif eta ~= '' and (queue == '' or tonumber(eta) > now_ms() * 1e6) then
    call('ZADD', delayed, eta, body)
  else
    call('RPUSH', queue, body)
  end
end

-- Parks a message for 50 ms, then for twice as long each time, up to 30 s; always for 50 ms while another program
-- takes returned messages of this task. Returns true if the message was too old and is a dead letter now. The "seen"
-- key of a message holds the unix ms at which a consumer first met it, how often it was parked, and the marks of the
-- last 100 consumers that have met it (fetch.lua reads them).
local function park(body, s)
  local queue, seen_prefix, aside, member, max_age = s[1], s[3], s[4], s[5], s[6]
  local dead, dead_prefix, task, out, wanted_prefix = s[7], s[8], s[9], s[10], s[11]
  local key = seen_prefix .. redis.sha1hex(body)
  local name = redis.sha1hex(task)
  local seen = call('GET', key)
  local consumer = ' ' .. sub(redis.sha1hex(string.match(member, '^(.*)/')), 1, 8)
  if not seen then
    -- the first meeting: another worker may know the task, and the message will rarely come back
    call('SET', key, now_ms() .. ' 0' .. consumer, 'PX', 3600000)
    call('RPUSH', queue, body)
    return
  end
  local first, rounds, met = string.match(seen, '^(%d+) (%d+)(.*)')
  first, rounds = tonumber(first), tonumber(rounds)
  if not find(met, consumer, 1, true) then met = sub(met .. consumer, -100 * #consumer) end
  if now_ms() - first >= max_age then
    call('DEL', key)
    dead_letter(queue, dead, dead_prefix, body, 'no worker has registered the task ' .. task)
    return true
  end
  if rounds > 0 then call('HINCRBY', out, name, -1) end -- a returned message came back
  if call('EXISTS', wanted_prefix .. name) == 1 then rounds = 0 end
  call('SET', key, first .. ' ' .. (rounds + 1) .. met, 'PX', math.max(3600000, max_age + 60000))
  call('ZADD', aside, now_ms() + math.min(30000, 50 * 2 ^ rounds), member .. '/' .. name .. '\n' .. body)
end

-- Settles a delivery. Returns true if the message was to be parked and became a dead letter.
local function settle(held, id, how, s)
  if how == 1 and (not s or s[2] == '') then
    call('HDEL', held, id)
    return
  end
  local queue, recovered = s[1], s[2]
  local body = call('HGET', held, id)
  call('HDEL', held, id)
  if (how == 1 or how == 5) and recovered ~= '' then call('HDEL', recovered, redis.sha1hex(body)) end
  if how == 2 then
    call('LPUSH', queue, body)
  elseif how == 3 then
    call('RPUSH', queue, body)
  elseif how == 4 then
    return park(body, s)
  elseif how == 5 then
    local dead, prefix, reason = s[3], s[4], s[5]
    dead_letter(queue, dead, prefix, body, reason)
  elseif how == 6 then
    local aside, member, due = s[3], s[4], s[5]
    call('ZADD', aside, due, member .. '/' .. string.rep('0', 40) .. '\n' .. body)
  end
end

-- Returns 'open', 'complete', 'more' if further UUIDs of the group are needed, or 'odd' if a member's state is in
-- another form.
local function progress(g)
  local key, members, first, window = g[1], g[2], g[3], g[4]
  if not g.known then
    g.stored = tonumber(call('GET', key) or 0)
    g.known = math.max(g.stored, first)
  end
  while g.known < members do
    local uuid = window[g.known - first + 1]
    if not uuid then return 'more' end
    local begin = redis.pcall('GETRANGE', uuid, 0, 511)
    if begin.err then return 'open' end
    local at, word = state_of(begin)
    if not at then
      local document = call('GET', uuid)
      at, word = state_of(document or '')
      if document and not at and not as_they_are then
        g.odd = uuid
        return 'odd'
      end
    end
    if not is_final(word) then return 'open' end
    g.known = g.known + 1
  end
  return 'complete'
end

-- Takes a chord's trigger. Returns nil if the caller has it, else the entry's code. With 'b' and 's' nothing changes.
local function trigger(t)
  local group, taker_key, taker, has_mutex = t[1], t[2], t[3], t[6]
  if not has_mutex and call('EXISTS', 'TriggerChordMutex') == 1 then return 'b' end
  local meta = redis.pcall('GET', group)
  if not meta or meta.err then return 'g' end
  local from, to = find(meta, '"ChordTriggered":false', 1, true)
  if from and not find(meta, '"ChordTriggered":', to, true) then
    call('SET', group, sub(meta, 1, from - 1) .. '"ChordTriggered":true' .. sub(meta, to + 1), 'EX', ttl)
    if taker ~= '' then call('SET', taker_key, taker, 'EX', ttl) end
    return nil
  end
  if not find(meta, '"ChordTriggered":true', 1, true) and not as_they_are then return 's' end
  if taker ~= '' and call('GET', taker_key) == taker then return nil end
  return 't'
end

for _, e in ipairs(entries) do
  local held, states, publishes = e[1], e[4], e[5]
  local why = held == '' and (refused(publishes) or unwritable(states))
  if why then return redis.error_reply(why) end
end

local codes, problems, outgoing, odds = {}, {}, {}, {}
for i, e in ipairs(entries) do
  local held, id, how, states, publishes = e[1], e[2], e[3], e[4], e[5]
  local group, t, settling, elsewhere = e[6], e[7], e[8], e[9]
  local won_states, won_publishes
  if t then won_states, won_publishes = t[4], t[5] end
  local fenced = held ~= ''
  local plain = fenced and how == 1 and group == 0 and not t and not settling
  local code = '1'
  local why, odd, only = refused(publishes) or how > 1 and how < 5 and blocked(settling[1], 'list')
    or t and refused(won_publishes)
  if not why and t then why, odd = unwritable(won_states) end
  if not why and not odd and (t or #states > 1) then why, odd = unwritable(states) end
  if not why and not t and #states == 1 then
    only, why, odd = compose(states[1])
    odd = odd and states[1][1]
  end
  if odd then
    code = 's'
    odds[#odds + 1] = {odd, 'state'}
  elseif why and fenced then
    code = call('HEXISTS', held, id) == 1 and 'e' or '0'
    if code == 'e' then problems[#problems + 1] = why end
  elseif fenced and (plain and call('HDEL', held, id) or call('HEXISTS', held, id)) == 0 then
    code = '0'
  else
    local won
    if t then
      local answer = trigger(t)
      won = not answer
      code = answer or code
      if code == 's' then odds[#odds + 1] = {t[1], 'group'} end
    end
    if code ~= 'b' and code ~= 's' then
      if only ~= nil then
        store(states[1], only)
      else
        for _, s in ipairs(states) do write(s) end
      end
      local g = groups[group]
      local status = g and progress(g)
      if status == 'complete' then
        code = 'c'
      elseif status == 'more' then
        code = 'm'
      elseif status == 'odd' then
        code = 'o'
        odds[#odds + 1] = {g.odd, 'state'}
      else
        for _, p in ipairs(publishes) do send(p) end
        for _, p in ipairs(elsewhere or {}) do outgoing[#outgoing + 1] = p end
        if won then
          for _, s in ipairs(won_states) do write(s) end
          for _, p in ipairs(won_publishes) do send(p) end
        end
        if fenced and not plain and how ~= 0 and settle(held, id, how, settling) then code = 'x' end
      end
    end
  end
  codes[i] = code
end

local result = table.concat(codes)
local answer = {result}
for i, g in ipairs(groups) do
  local key = g[1]
  if g.known and g.known > g.stored then call('SET', key, g.known, 'EX', ttl) end
  answer[i + 1] = g.known or 0
end
answer[#groups + 2] = problems
answer[#groups + 3] = odds
if token ~= '' then call('SET', token, token_value, 'PX', token_ttl or 600000) end
if #outgoing > 0 then call('HSET', outbox, mark, cmsgpack.pack(outgoing)) end
if announce ~= '' and #finals > 0 then call('PUBLISH', announce, table.concat(finals, ' ')) end
if #groups + #problems + #odds == 0 then return result end
return answer
