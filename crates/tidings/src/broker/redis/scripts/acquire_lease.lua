-- Acquires or renews the capture lease.
--
-- A free lease goes to a node that has received every message since the captured position, which its markers prove. Another
-- node waits for such a node, until the wait is over or every subscribed node has asked without success.
--
-- KEYS[1]  lease: its holder
-- KEYS[2]  captured position
-- KEYS[3]  set of nodes that asked without success; its expiry tells when the first of them asked
--
-- ARGV[1]  node that asks
-- ARGV[2]  milliseconds of the lease
-- ARGV[3]  milliseconds of the wait
-- ARGV[4]  live channel of the hub
-- ARGV[5…] markers since which the node has received every message
--
-- Returns 1 if the node holds the lease, else 0; and the captured position, or empty.
local holder, place = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2]) or ''
local mine = holder == ARGV[1]
if not holder then
  local mark = string.match(place, ' (%x+) ')
  mine = not mark
  for known = 5, #ARGV do mine = mine or ARGV[known] == mark end
  if not mine then
    redis.call('SADD', KEYS[3], ARGV[1])
    local left, while_long = redis.call('PTTL', KEYS[3]), tonumber(ARGV[3])
    if left < 0 then redis.call('PEXPIRE', KEYS[3], 10 * while_long) end
    local all = redis.call('SCARD', KEYS[3]) >= redis.call('PUBSUB', 'NUMSUB', ARGV[4])[2]
    mine = all or left >= 0 and left <= 9 * while_long
  end
end
if mine then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  redis.call('DEL', KEYS[3])
end
return {mine and 1 or 0, place}
