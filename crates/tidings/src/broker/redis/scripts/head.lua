-- Reads the head of the log. Needs `clock`.
--
-- The script only reads, so Redis also runs it when its memory is full and on a replica. Redis refuses `MULTI` then.
--
-- KEYS[1]  log: the stream
-- KEYS[2]  meta: a hash
-- KEYS[3]  epochs: the list of epoch rows
-- KEYS[4]  versions of all shared tables: a hash
--
-- ARGV[1]  prefix of the keys of shared tables
--
-- Returns the epoch rows; head, tag, epoch and replid of meta; the id of the oldest entry, or false; the replication id of the
-- server, or empty if the server hides it; the versions, empty for a table without rows; the time of the server, or false.
local info = redis.pcall('INFO', 'replication')
local replid = type(info) == 'string' and string.match(info, 'master_replid:(%w+)')
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
local versions = redis.call('HGETALL', KEYS[4])
for at = 1, #versions, 2 do
  -- A cluster node refuses a missing key while the slot is moved: the other node may have the rows.
  if redis.pcall('EXISTS', ARGV[1] .. versions[at]) == 0 then versions[at + 1] = '' end
end
return {
  redis.call('LRANGE', KEYS[3], 0, -1),
  redis.call('HMGET', KEYS[2], 'head', 'tag', 'epoch', 'replid'),
  oldest and oldest[1] or false,
  replid or '',
  versions,
  clock() or false
}
