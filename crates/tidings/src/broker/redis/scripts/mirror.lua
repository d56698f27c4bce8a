-- Defines `publish_mirrored`: publishes data for other programs, after a message that tells the nodes to ignore it.
-- Returns the error if Redis refused to publish the data.
local function publish_mirrored(live_channel, channel, data)
  redis.call('PUBLISH', live_channel, 'mirrored ' .. channel)
  local reply = redis.pcall('PUBLISH', channel, data)
  if type(reply) == 'table' and reply.err then return reply end
end
