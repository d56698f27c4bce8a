-- Defines `clock`: the time of the server in milliseconds since 1970. Returns nothing if the ACL of the user hides the time.
local function clock()
  local time = redis.pcall('TIME')
  if not time.err then return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) end
  local info = redis.pcall('INFO', 'server')
  local micros = type(info) == 'string' and string.match(info, 'server_time_usec:(%d+)')
  return micros and math.floor(tonumber(micros) / 1000)
end
