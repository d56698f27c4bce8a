-- Reads some rows of a shared table, and the version of the table.
--
-- The script only reads, so Redis also runs it when its memory is full and on a replica.
--
-- KEYS[1]  versions of all shared tables: a hash
-- KEYS[2]  rows: a hash
--
-- ARGV[1]  table
-- ARGV[2]  `HSCAN` cursor
-- ARGV[3]  approximate number of rows
--
-- Returns the version, the next cursor (0 at the end), and the rows.
local found = redis.call('HSCAN', KEYS[2], ARGV[2], 'COUNT', ARGV[3])
local version = redis.call('EXISTS', KEYS[2]) == 1 and redis.call('HGET', KEYS[1], ARGV[1])
return {version, found[1], found[2]}
