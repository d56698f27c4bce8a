-- Changes a row of a shared table.
--
-- KEYS[1]  rows: a hash
-- KEYS[2]  expiry times of the rows: a sorted set
-- KEYS[3]  versions of all shared tables: a hash
--
-- ARGV[1]  table
-- ARGV[2]  Pub/Sub channel for changes
-- ARGV[3]  key of the row
-- ARGV[4]  version that the row must have; empty: the row must be missing; `*`: any
-- ARGV[5]  new version of the table
-- ARGV[6]  new row, or empty to delete the row
-- ARGV[7]  expiry time in milliseconds since 1970, or empty
-- ARGV[8]  current time in milliseconds since 1970
-- ARGV[9]  number of expired rows to delete
-- ARGV[10] number of rows that the table may have
--
-- Returns {'ok'}; {'other', row} if the row has another version, with an empty row if it is missing; or {'full'}.
-- The message comes last and may fail: a node that misses it sees the new version of the table.
local rows, ends, versions = KEYS[1], KEYS[2], KEYS[3]
local name, key, row = ARGV[1], ARGV[3], ARGV[6]
local before = redis.call('EXISTS', rows) == 1 and redis.call('HGET', versions, name) or ''
for _, over in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', ARGV[8], 'LIMIT', 0, ARGV[9])) do
  redis.call('HDEL', rows, over)
  redis.call('ZREM', ends, over)
end
local there = redis.call('HGET', rows, key)
if ARGV[4] ~= '*' and (there and string.sub(there, 1, 16) or '') ~= ARGV[4] then return {'other', there or ''} end
if row == '' then
  if not there then return {'ok'} end
  redis.call('HDEL', rows, key)
else
  if not there and redis.call('HLEN', rows) >= tonumber(ARGV[10]) then return {'full'} end
  redis.call('HSET', rows, key, row)
end
if row ~= '' and ARGV[7] ~= '' then redis.call('ZADD', ends, ARGV[7], key) else redis.call('ZREM', ends, key) end
local after = redis.call('EXISTS', rows) == 1 and ARGV[5] or ''
redis.call('HSET', versions, name, after)
redis.pcall('PUBLISH', ARGV[2], cjson.encode({name, before, after, key, row}))
return {'ok'}
