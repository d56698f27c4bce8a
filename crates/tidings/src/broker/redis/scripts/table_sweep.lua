-- Deletes expired rows of a shared table, and repairs a table of which Redis evicted the expiry times or the version.
--
-- The version of the table stays: an expired row has no effect. Each row names its own expiry time.
--
-- KEYS[1]  rows: a hash
-- KEYS[2]  expiry times of the rows: a sorted set
-- KEYS[3]  versions of all shared tables: a hash
--
-- ARGV[1]  current time in milliseconds since 1970
-- ARGV[2]  number of rows to delete at most
-- ARGV[3]  table
-- ARGV[4]  version for a table that lost its version
--
-- Returns the number of deleted rows.
local rows, ends, versions = KEYS[1], KEYS[2], KEYS[3]
if redis.call('EXISTS', rows) == 1 then
  if redis.call('HEXISTS', versions, ARGV[3]) == 0 then redis.call('HSET', versions, ARGV[3], ARGV[4]) end
  if redis.call('EXISTS', ends) == 0 then
    local all = redis.call('HGETALL', rows)
    for at = 1, #all, 2 do
      local until_ms = string.match(all[at + 1], '^%x+@(%d+) ')
      if until_ms then redis.call('ZADD', ends, until_ms, all[at]) end
    end
  end
end
local over = redis.call('ZRANGEBYSCORE', ends, '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, key in ipairs(over) do
  redis.call('HDEL', rows, key)
  redis.call('ZREM', ends, key)
end
return #over
