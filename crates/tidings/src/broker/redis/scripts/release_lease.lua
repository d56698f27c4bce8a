-- Releases the capture lease and tells the other nodes.
--
-- KEYS[1]  lease: its holder
--
-- ARGV[1]  node that releases
-- ARGV[2]  live channel of the hub
-- ARGV[3]  node message
--
-- Returns 0.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
  redis.call('PUBLISH', ARGV[2], ARGV[3])
end
return 0
