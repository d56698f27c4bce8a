-- Publishes a transient event to all nodes, and its data to other programs. Needs `publish_mirrored`.
--
-- ARGV[1]  live channel of the hub
-- ARGV[2]  node message with the event
-- ARGV[3]  data of the event
-- ARGV[4…] channels on which the data is mirrored
--
-- Returns a list: empty, or the error if Redis refused to publish a mirrored event.
redis.call('PUBLISH', ARGV[1], ARGV[2])
local denied
for channel = 4, #ARGV do
  denied = publish_mirrored(ARGV[1], ARGV[channel], ARGV[3]) or denied
end
return {denied}
