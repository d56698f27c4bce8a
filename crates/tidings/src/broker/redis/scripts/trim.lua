-- Deletes old entries, never the newest one. Needs `clock`.
--
-- KEYS[1]  log: the stream
-- KEYS[2]  meta: a hash
--
-- ARGV[1]  milliseconds for which entries are kept by the clock of the server, or empty to ignore the age
-- ARGV[2]  bytes that the log may have
--
-- Returns the oldest offset, the bytes before the trim as Redis estimates them, and the number of deleted entries.
-- Offsets have no gaps, so a binary search finds the first entry that is young enough.
local log = KEYS[1]
local function at(id)
  local entry = redis.call('XRANGE', log, id, '+', 'COUNT', 1)[1]
  return tonumber(string.match(entry[2][2], '^%x+ %x+ %x+ (%d+) ')) or 0, entry[1]
end
local length = redis.call('XLEN', log)
if length == 0 then return {0, 0, 0} end
local head = tonumber(redis.call('HGET', KEYS[2], 'head'))
local now = ARGV[1] ~= '' and clock()
local limit = now and now - tonumber(ARGV[1]) or 0
local published, first = at('-')
local low = tonumber(string.match(first, '^%d+'))
local high = head
if published < limit then
  while low < high do
    local middle = math.floor((low + high) / 2)
    if at(string.format('%.0f-0', middle)) < limit then low = middle + 1 else high = middle end
  end
end
local bytes = redis.call('MEMORY', 'USAGE', log) or 0
if bytes > tonumber(ARGV[2]) then
  low = math.min(head, math.max(low, head + 1 - math.floor(length * tonumber(ARGV[2]) / bytes)))
end
local dropped = redis.call('XTRIM', log, 'MINID', '~', string.format('%.0f-0', low), 'LIMIT', 100000)
first = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1][1]
return {tonumber(string.match(first, '^%d+')), bytes, dropped}
