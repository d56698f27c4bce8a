-- Begins an epoch at the head of the log.
--
-- Afterwards every key that all nodes need exists. A cluster node refuses commands on a missing key while its slot is moved.
--
-- KEYS[1]  log: the stream
-- KEYS[2]  meta: a hash
-- KEYS[3]  epochs: the list of epoch rows
-- KEYS[4]  versions of all shared tables: a hash
--
-- ARGV[1]  newest epoch that the node knows, or empty if it knows none
-- ARGV[2]  new epoch
-- ARGV[3]  epoch row as JSON without its closing brace
-- ARGV[4]  replication id of the server
-- ARGV[5]  number of rows to keep
-- ARGV[6]  loss that the row reports, as `epoch-offset`, or empty
-- ARGV[7]  `anew` to delete the rest of a log that lacks a part, or empty
--
-- Returns {'begun', row}; {'known'} if a row reports that loss already; {'other', newest} if another epoch is the newest.
local log, meta, epochs = KEYS[1], KEYS[2], KEYS[3]
local state = redis.call('HMGET', meta, 'epoch', 'head', 'tag', 'replid')
local last = redis.call('LINDEX', epochs, -1)
if ARGV[7] == 'anew' then
  local first = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
  local is_above = first and tonumber(string.match(first[1], '^%d+')) > (tonumber(state[2]) or 0)
  local is_whole = last and state[1] and state[2] and state[3] and state[4] and cjson.decode(last).epoch == state[1]
  if is_whole and not is_above then return {'other', state[1]} end
  redis.call('DEL', log, meta, epochs)
  state, last = {}, false
end
if ARGV[6] ~= '' then
  for _, row in ipairs(redis.call('LRANGE', epochs, 0, -1)) do
    if cjson.decode(row).of == ARGV[6] then return {'known'} end
  end
end
if (state[1] or '') ~= ARGV[1] then return {'other', state[1] or ''} end
local head = state[2] or '0'
if ARGV[1] == '' then
  if redis.call('EXISTS', log, meta, epochs) > 0 then return {'other', ''} end
  redis.call('HSET', meta, 'head', '0', 'tag', '00000000', 'birth', ARGV[2])
  -- A stream that had an entry stays when it is empty.
  redis.call('XADD', log, '0-1', 'm', '')
  redis.call('XDEL', log, '0-1')
elseif not last then
  -- A row in an empty list would hide that the other rows are lost.
  return {'other', ''}
end
redis.call('HSETNX', KEYS[4], '', '-')
local row = ARGV[3] .. ',"after":' .. head .. '}'
redis.call('RPUSH', epochs, row)
redis.call('LTRIM', epochs, -tonumber(ARGV[5]), -1)
redis.call('HSET', meta, 'epoch', ARGV[2], 'replid', ARGV[4])
return {'begun', row}
