-- Appends publishes to the log in one step. Needs `publish_mirrored`.
--
-- KEYS[1]  log: the stream
-- KEYS[2]  meta: a hash with epoch, head, tag, birth and replid
-- KEYS[3]  epochs: the list of epoch rows
-- KEYS[…]  one key for each idempotency key of the batch
-- KEYS[n-1], KEYS[n]  only if captured messages are appended: the lease, the captured position
--
-- ARGV[1]  epoch that the node knows as the newest
-- ARGV[2]  offset of the newest entry that the node has seen, or 0
-- ARGV[3]  tag of that entry
-- ARGV[4]  milliseconds for which idempotency keys are kept
-- ARGV[5]  holder of the capture lease, or empty
-- ARGV[6]  captured position before the call
-- ARGV[7]  captured position after the call
-- ARGV[8]  live channel of the hub
-- ARGV[9]  number of publishes; for each publish follow
--   the number of its events; for each event follow
--     the number of further arguments of the event, mostly 0
--     field `m` (header)
--     field `d` (data)
--     further arguments: index in KEYS of the idempotency key, or 0; fingerprint; number of mirrored channels; these channels;
--     names and values of the other fields
--
-- Returns {'epoch', newest}, {'diverged', head} or {'uncaptured'} if the whole batch is refused. Else returns {'ok', answer…}:
-- for an event its offset as a number; for a repeat the text "offset tag"; for a publish with an idempotency conflict only
-- "!index of the event". The last answer is the error if Redis refused to publish a mirrored event.
--
-- A log without its epochs takes no events: the nodes begin it again. A repeat counts only if its first publish is in this log,
-- which `birth` in meta names: idempotency keys may outlive a log.
-- `XADD` can fail only as the first write: Redis checks memory and role before that write. Nothing is written then.
-- An entry holds the tag of the entry before it. The publisher's node mostly knows that tag.
-- The work for each event limits the throughput of Redis: few arguments, and a number as the id, which needs no string.
local log, meta = KEYS[1], KEYS[2]
local function tag_of(m) return string.sub(m, 18, 25) end
local state = redis.call('HMGET', meta, 'epoch', 'head', 'tag', 'birth')
if redis.call('EXISTS', KEYS[3]) == 0 then return {'epoch', ''} end
if state[1] ~= ARGV[1] then return {'epoch', state[1] or ''} end
local birth = state[4] or ''
local head, tag = tonumber(state[2]), state[3]
local seen = tonumber(ARGV[2])
if seen > head or (seen == head and seen > 0 and tag ~= ARGV[3]) then return {'diverged', head} end
if seen > 0 and seen < head then
  local entry = redis.call('XRANGE', log, ARGV[2] .. '-0', ARGV[2] .. '-0')[1]
  if entry then
    if tag_of(entry[2][2]) ~= ARGV[3] then return {'diverged', head} end
  else
    local oldest = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
    if not oldest or tonumber(string.match(oldest[1], '^%d+')) < seen then return {'diverged', head} end
  end
end
local captures = ARGV[5] ~= ''
if captures and (redis.call('GET', KEYS[#KEYS - 1]) ~= ARGV[5] or (redis.call('GET', KEYS[#KEYS]) or '') ~= ARGV[6]) then
  return {'uncaptured'}
end
local have_keys = #KEYS > (captures and 5 or 3)
local before, at, answers, denied = head, 10, {'ok'}, nil
for _ = 1, tonumber(ARGV[9]) do
  local events = tonumber(ARGV[at])
  local start, repeats, conflict = at + 1, {}, nil
  at = start
  for event = 1, have_keys and events or 0 do
    local more = tonumber(ARGV[at])
    local known = more > 0 and ARGV[at + 3] ~= '0' and redis.pcall('GET', KEYS[tonumber(ARGV[at + 3])])
    -- A value of another type is not the hub's: SET replaces it.
    if type(known) ~= 'string' then known = '' end
    local fingerprint, place, of = string.match(known, '^(%x+) (%d+ %x+) ?(%x*)$')
    if of == birth then
      if fingerprint == ARGV[at + 4] then
        repeats[event] = place
      else
        conflict = conflict or event
      end
    end
    at = at + 3 + more
  end
  if conflict then
    answers[#answers + 1] = '!' .. (conflict - 1)
  else
    at = start
    for event = 1, events do
      local more = tonumber(ARGV[at])
      local last = at + 2 + more
      if repeats[event] then
        answers[#answers + 1] = repeats[event]
      else
        local m, d = ARGV[at + 1], ARGV[at + 2]
        local fields = last + 1
        if more > 0 then fields = at + 6 + tonumber(ARGV[at + 5]) end
        local added
        if string.sub(m, 27, 34) == tag then
          added = redis.pcall('XADD', log, head + 1, 'm', m, 'd', d, unpack(ARGV, fields, last))
        else
          added = redis.pcall('XADD', log, head + 1, 'm', m, 'd', d, 'v', tag, unpack(ARGV, fields, last))
        end
        if type(added) == 'table' and added.err then return added end
        head, tag = head + 1, tag_of(m)
        if more > 0 and ARGV[at + 3] ~= '0' then
          local place = string.format(' %.0f ', head) .. tag .. ' ' .. birth
          redis.call('SET', KEYS[tonumber(ARGV[at + 3])], ARGV[at + 4] .. place, 'PX', ARGV[4])
        end
        for channel = at + 6, fields - 1 do
          denied = publish_mirrored(ARGV[8], ARGV[channel], d) or denied
        end
        answers[#answers + 1] = head
      end
      at = last + 1
    end
  end
end
if head > before then redis.call('HSET', meta, 'head', string.format('%.0f', head), 'tag', tag) end
if captures then redis.call('SET', KEYS[#KEYS], ARGV[7]) end
answers[#answers + 1] = denied
return answers
