-- Acquires or renews the capture lease.
--
-- A free lease goes to a node that has received every message since the captured position, which its markers prove. Another
-- node waits for such a node, until the wait is over or every subscribed node has asked without success. The lease then goes to
-- the node that has received messages for the longest time: it has the oldest marker of every node that asked. Any node gets
-- the lease after a second wait, because that node may be gone.
--
-- KEYS[1]  lease: its holder
-- KEYS[2]  captured position
-- KEYS[3]  set of nodes that asked without success, each with its oldest marker; its expiry tells when the first of them asked
--
-- ARGV[1]  node that asks
-- ARGV[2]  milliseconds of the lease
-- ARGV[3]  milliseconds of the wait
-- ARGV[4]  live channel of the hub
-- ARGV[5…] markers since which the node has received every message, oldest first
--
-- Returns 1 if the node holds the lease, else 0; and the captured position, or empty.
local holder, place = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2]) or ''
local mine = holder == ARGV[1]
if not holder then
  local known = {}
  for index = 5, #ARGV do known[ARGV[index]] = true end
  mine = known[string.match(place, ' (%x+) ') or '']
  if not mine then
    local own, nodes, has_most = ARGV[1] .. ' ' .. (ARGV[5] or ''), 0, true
    redis.call('SADD', KEYS[3], own)
    for _, node in ipairs(redis.call('SMEMBERS', KEYS[3])) do
      local name, oldest = string.match(node, '^(%S+) ?(%x*)$')
      if name == ARGV[1] and node ~= own then
        redis.call('SREM', KEYS[3], node)
      else
        nodes = nodes + 1
        has_most = has_most and (name == ARGV[1] or not oldest or oldest == '' or known[oldest])
      end
    end
    local left, while_long = redis.call('PTTL', KEYS[3]), tonumber(ARGV[3])
    if left < 0 then
      left = 10 * while_long
      redis.call('PEXPIRE', KEYS[3], left)
    end
    local all = nodes >= redis.call('PUBSUB', 'NUMSUB', ARGV[4])[2]
    mine = has_most and (all or left <= 9 * while_long) or left <= 8 * while_long
  end
end
if mine then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  redis.call('DEL', KEYS[3])
end
return {mine and 1 or 0, place}
