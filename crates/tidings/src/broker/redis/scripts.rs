//! The scripts that run in Redis: each is one step that nothing else comes between.

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::resp::RedisCommand;

/// A script, and the name that Redis knows it by.
#[derive(Debug, Clone)]
pub(super) struct Script {
    text: &'static str,
    sha: String,
}

impl Script {
    pub(super) fn new(text: &'static str) -> Self {
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        let sha = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { text, sha }
    }

    /// A call by name; keys and then arguments are pushed to it.
    pub(super) fn call(&self, keys: usize) -> RedisCommand {
        RedisCommand::new("EVALSHA").arg(&self.sha).arg(keys.to_string())
    }

    /// Makes the script known.
    pub(super) fn load(&self) -> RedisCommand {
        RedisCommand::new("SCRIPT").arg("LOAD").arg(self.text)
    }
}

/// Defines `clock`: the server's time in milliseconds since 1970, or nothing where an ACL lets the caller see none.
macro_rules! clock {
    () => {
        r"
local function clock()
  local time = redis.pcall('TIME')
  if not time.err then return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) end
  local info = redis.pcall('INFO', 'server')
  local micros = type(info) == 'string' and string.match(info, 'server_time_usec:(%d+)')
  return micros and math.floor(tonumber(micros) / 1000)
end
"
    };
}

/// Appends publishes.
///
/// `KEYS`: log, meta, epochs, then the keys of idempotency; where messages are captured, last the lease and the place. `ARGV`: epoch,
/// witness offset, witness tag, milliseconds that idempotency keys are kept, who captures or nothing, the place before and the
/// place after, the hub's own channel, number of publishes; for each publish the number of its events; for each event the number
/// of texts that follow its data, what it is (`m`), its data (`d`), and those texts, mostly none: the index of its key in `KEYS`
/// or 0, fingerprint, number of channels it is mirrored on, those, the fields besides `m` and `d`.
/// Answers `{'epoch', newest}`, `{'diverged', head}` or `{'uncaptured'}` where it refused all, else `{'ok', answer…}`: for an
/// event its offset as a number, for a repeat `"offset tag"`, for a publish that conflicts `"!index of the event"` alone; last,
/// where Redis refused to publish what is mirrored, its error.
/// A log without its epochs takes nothing: the nodes begin it anew. A repeat counts only if its first is of this very log, which
/// `birth` in meta names: keys may outlive a log.
/// An `XADD` can fail as the first write only, as Redis looks at room and role before the first: then nothing was written.
/// An entry names the tag of the one before it: mostly its publisher knew that.
/// What is done for every event decides the rate of a Redis: few texts each, and a number for the id, which makes no string.
pub(super) const APPEND: &str = r"
local log, meta = KEYS[1], KEYS[2]
local function tag_of(m) return string.sub(m, 18, 25) end
local state = redis.call('HMGET', meta, 'epoch', 'head', 'tag', 'birth')
if redis.call('EXISTS', KEYS[3]) == 0 then return {'epoch', ''} end
if state[1] ~= ARGV[1] then return {'epoch', state[1] or ''} end
local birth = state[4] or ''
local head, tag = tonumber(state[2]), state[3]
local seen = tonumber(ARGV[2])
if seen > head or (seen == head and seen > 0 and tag ~= ARGV[3]) then return {'diverged', head} end
if seen > 0 and seen < head then
  local entry = redis.call('XRANGE', log, ARGV[2] .. '-0', ARGV[2] .. '-0')[1]
  if entry then
    if tag_of(entry[2][2]) ~= ARGV[3] then return {'diverged', head} end
  else
    local oldest = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
    if not oldest or tonumber(string.match(oldest[1], '^%d+')) < seen then return {'diverged', head} end
  end
end
local captures = ARGV[5] ~= ''
if captures and (redis.call('GET', KEYS[#KEYS - 1]) ~= ARGV[5] or (redis.call('GET', KEYS[#KEYS]) or '') ~= ARGV[6]) then
  return {'uncaptured'}
end
local have_keys = #KEYS > (captures and 5 or 3)
local before, at, answers, unmirrored = head, 10, {'ok'}, nil
for _ = 1, tonumber(ARGV[9]) do
  local events = tonumber(ARGV[at])
  local start, repeats, conflict = at + 1, {}, nil
  at = start
  for event = 1, have_keys and events or 0 do
    local more = tonumber(ARGV[at])
    local known = more > 0 and ARGV[at + 3] ~= '0' and redis.pcall('GET', KEYS[tonumber(ARGV[at + 3])])
    -- A value of another type is not the hub's: SET replaces it.
    if type(known) ~= 'string' then known = '' end
    local fingerprint, place, of = string.match(known, '^(%x+) (%d+ %x+) ?(%x*)$')
    if of == birth then
      if fingerprint == ARGV[at + 4] then
        repeats[event] = place
      else
        conflict = conflict or event
      end
    end
    at = at + 3 + more
  end
  if conflict then
    answers[#answers + 1] = '!' .. (conflict - 1)
  else
    at = start
    for event = 1, events do
      local more = tonumber(ARGV[at])
      local last = at + 2 + more
      if repeats[event] then
        answers[#answers + 1] = repeats[event]
      else
        local m, d = ARGV[at + 1], ARGV[at + 2]
        local fields = last + 1
        if more > 0 then fields = at + 6 + tonumber(ARGV[at + 5]) end
        local added
        if string.sub(m, 27, 34) == tag then
          added = redis.pcall('XADD', log, head + 1, 'm', m, 'd', d, unpack(ARGV, fields, last))
        else
          added = redis.pcall('XADD', log, head + 1, 'm', m, 'd', d, 'v', tag, unpack(ARGV, fields, last))
        end
        if type(added) == 'table' and added.err then return added end
        head, tag = head + 1, tag_of(m)
        if more > 0 and ARGV[at + 3] ~= '0' then
          local place = string.format(' %.0f ', head) .. tag .. ' ' .. birth
          redis.call('SET', KEYS[tonumber(ARGV[at + 3])], ARGV[at + 4] .. place, 'PX', ARGV[4])
        end
        for channel = at + 6, fields - 1 do
          redis.call('PUBLISH', ARGV[8], 'mirrored ' .. ARGV[channel])
          local told = redis.pcall('PUBLISH', ARGV[channel], d)
          if type(told) == 'table' and told.err then unmirrored = told end
        end
        answers[#answers + 1] = head
      end
      at = last + 1
    end
  end
end
if head > before then redis.call('HSET', meta, 'head', string.format('%.0f', head), 'tag', tag) end
if captures then redis.call('SET', KEYS[#KEYS], ARGV[7]) end
answers[#answers + 1] = unmirrored
return answers
";

/// Says something to all nodes, and to other programs.
///
/// `ARGV`: the hub's own channel, the word, data, the channels that the data is mirrored on.
/// Answers a list: empty, or the error with which Redis refused to publish what is mirrored.
pub(super) const PUBLISH_MIRRORED: &str = r"
redis.call('PUBLISH', ARGV[1], ARGV[2])
local unmirrored
for channel = 4, #ARGV do
  redis.call('PUBLISH', ARGV[1], 'mirrored ' .. ARGV[channel])
  local told = redis.pcall('PUBLISH', ARGV[channel], ARGV[3])
  if type(told) == 'table' and told.err then unmirrored = told end
end
return {unmirrored}
";

/// Asks to capture, or to go on with it.
///
/// A lease that is free goes to who has heard all since the place, by its mark. Anybody else waits a while for one of those, or
/// until all who hear have asked in vain.
/// `KEYS`: lease, place, who asked in vain; its age says since when. `ARGV`: who asks, milliseconds of the lease and of that
/// while, the hub's own channel, marks since which the one who asks has heard all.
/// Answers 1 where he captures and 0 where not, and the place up to which messages are in the log, or nothing.
pub(super) const ACQUIRE_LEASE: &str = r"
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
";

/// Captures no more, and says so.
///
/// `KEYS`: lease. `ARGV`: who asks, the hub's own channel, the word.
pub(super) const RELEASE_LEASE: &str = r"
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
  redis.call('PUBLISH', ARGV[2], ARGV[3])
end
return 0
";

/// Reads where the log stands.
///
/// Only reads: Redis runs it when it is full, or a replica. `MULTI` is refused then.
/// `KEYS`: log, meta, epochs, the versions of all tables. `ARGV`: how the name of a table's rows begins.
/// Answers the rows; head, tag, epoch and replication id of meta; the id of the oldest entry or nothing; the server's
/// replication id, empty where it tells none; the versions, empty for a table that has no rows; the server's time.
pub(super) const HEAD: &str = concat!(
    clock!(),
    r"
local info = redis.pcall('INFO', 'replication')
local replid = type(info) == 'string' and string.match(info, 'master_replid:(%w+)')
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
local versions = redis.call('HGETALL', KEYS[4])
for at = 1, #versions, 2 do
  -- A node of a cluster whose slot is on its way refuses what is not here: the rows may be at the other node.
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
"
);

/// Begins an epoch at the head.
///
/// All keys that every node needs are there from then on: a node of a cluster whose slot is being moved answers for no key that
/// is not there.
/// `KEYS`: log, meta, epochs, the versions of all tables. `ARGV`: the newest epoch that the caller knows, or nothing where it
/// saw none; the new one; the row's JSON without its end; replication id; rows kept; what the row tells of, as `epoch-offset`,
/// or nothing; `anew` where what is left of a log that lacks a part is to go.
/// Answers `{'begun', row}`, `{'known'}` where a row tells of that already, `{'other', newest}` where the caller was late.
pub(super) const BEGIN: &str = r#"
local log, meta, epochs = KEYS[1], KEYS[2], KEYS[3]
local state = redis.call('HMGET', meta, 'epoch', 'head', 'tag', 'replid')
local last = redis.call('LINDEX', epochs, -1)
if ARGV[7] == 'anew' then
  local first = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
  local is_above = first and tonumber(string.match(first[1], '^%d+')) > (tonumber(state[2]) or 0)
  local is_whole = last and state[1] and state[2] and state[3] and state[4] and cjson.decode(last).epoch == state[1]
  if is_whole and not is_above then return {'other', state[1]} end
  redis.call('DEL', log, meta, epochs)
  state, last = {}, false
end
if ARGV[6] ~= '' then
  for _, row in ipairs(redis.call('LRANGE', epochs, 0, -1)) do
    if cjson.decode(row).of == ARGV[6] then return {'known'} end
  end
end
if (state[1] or '') ~= ARGV[1] then return {'other', state[1] or ''} end
local head = state[2] or '0'
if ARGV[1] == '' then
  if redis.call('EXISTS', log, meta, epochs) > 0 then return {'other', ''} end
  redis.call('HSET', meta, 'head', '0', 'tag', '00000000', 'birth', ARGV[2])
  -- A stream that has had an entry stays, empty.
  redis.call('XADD', log, '0-1', 'm', '')
  redis.call('XDEL', log, '0-1')
elseif not last then
  -- A row in an empty list would hide that the others are gone.
  return {'other', ''}
end
redis.call('HSETNX', KEYS[4], '', '-')
local row = ARGV[3] .. ',"after":' .. head .. '}'
redis.call('RPUSH', epochs, row)
redis.call('LTRIM', epochs, -tonumber(ARGV[5]), -1)
redis.call('HSET', meta, 'epoch', ARGV[2], 'replid', ARGV[4])
return {'begun', row}
"#;

/// Drops old entries, never the newest.
///
/// `KEYS`: log, meta. `ARGV`: milliseconds for which entries are kept by the server's clock, or nothing where age is not to
/// count; bytes of the log.
/// Answers the oldest offset that is kept, the bytes before, how many were dropped. Offsets have no holes, so the first entry
/// that is young enough is found by halving; bytes are what Redis itself estimates.
pub(super) const TRIM: &str = concat!(
    clock!(),
    r"
local log = KEYS[1]
local function at(id)
  local entry = redis.call('XRANGE', log, id, '+', 'COUNT', 1)[1]
  return tonumber(string.match(entry[2][2], '^%x+ %x+ %x+ (%d+) ')) or 0, entry[1]
end
local length = redis.call('XLEN', log)
if length == 0 then return {0, 0, 0} end
local head = tonumber(redis.call('HGET', KEYS[2], 'head'))
local now = ARGV[1] ~= '' and clock()
local limit = now and now - tonumber(ARGV[1]) or 0
local published, first = at('-')
local low = tonumber(string.match(first, '^%d+'))
local high = head
if published < limit then
  while low < high do
    local middle = math.floor((low + high) / 2)
    if at(string.format('%.0f-0', middle)) < limit then low = middle + 1 else high = middle end
  end
end
local bytes = redis.call('MEMORY', 'USAGE', log) or 0
if bytes > tonumber(ARGV[2]) then
  low = math.min(head, math.max(low, head + 1 - math.floor(length * tonumber(ARGV[2]) / bytes)))
end
local dropped = redis.call('XTRIM', log, 'MINID', '~', string.format('%.0f-0', low), 'LIMIT', 100000)
first = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1][1]
return {tonumber(string.match(first, '^%d+')), bytes, dropped}
"
);
