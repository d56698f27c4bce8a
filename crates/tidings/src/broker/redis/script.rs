//! The scripts that run in Redis: each is one step that nothing else comes between.

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::wire::Command;

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
    pub(super) fn call(&self, keys: usize) -> Command {
        Command::new("EVALSHA").arg(&self.sha).arg(keys.to_string())
    }

    /// Makes the script known.
    pub(super) fn load(&self) -> Command {
        Command::new("SCRIPT").arg("LOAD").arg(self.text)
    }
}

/// Appends publishes.
///
/// `KEYS`: log, meta, then the keys of idempotency. `ARGV`: epoch, witness offset, witness tag, milliseconds that idempotency
/// keys are kept, number of publishes; for each publish the number of its events; for each event the index of its key in
/// `KEYS` or 0, fingerprint, tag, number of the fields' texts, the fields.
/// Answers `{'epoch', newest}` or `{'diverged', head}` where it refused all, else `{'ok', answer…}`: for an event its offset
/// as a number, for a repeat `"offset tag"`, for a publish that conflicts `"!index of the event"` alone.
/// An `XADD` can fail as the first write only, as Redis looks at room and role before the first: then nothing was written.
pub(super) const APPEND: &str = r"
local log, meta = KEYS[1], KEYS[2]
local state = redis.call('HMGET', meta, 'epoch', 'head', 'tag')
if state[1] ~= ARGV[1] then return {'epoch', state[1] or ''} end
local head, tag = tonumber(state[2]), state[3]
local seen = tonumber(ARGV[2])
if seen > head or (seen == head and seen > 0 and tag ~= ARGV[3]) then return {'diverged', head} end
if seen > 0 and seen < head then
  local entry = redis.call('XRANGE', log, ARGV[2] .. '-0', ARGV[2] .. '-0')[1]
  if entry then
    for field = 1, #entry[2], 2 do
      if entry[2][field] == 't' and entry[2][field + 1] ~= ARGV[3] then return {'diverged', head} end
    end
  else
    local oldest = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
    if not oldest or tonumber(string.match(oldest[1], '^%d+')) < seen then return {'diverged', head} end
  end
end
local before, at, answers = head, 6, {'ok'}
for _ = 1, tonumber(ARGV[5]) do
  local events = tonumber(ARGV[at])
  local start, repeats, conflict = at + 1, {}, nil
  at = start
  for event = 1, events do
    local key = tonumber(ARGV[at])
    local known = key > 0 and redis.call('GET', KEYS[key])
    if known then
      if string.sub(known, 1, 32) == ARGV[at + 1] then
        repeats[event] = string.sub(known, 34)
      else
        conflict = conflict or event
      end
    end
    at = at + 4 + tonumber(ARGV[at + 3])
  end
  if conflict then
    answers[#answers + 1] = '!' .. (conflict - 1)
  else
    at = start
    for event = 1, events do
      local last = at + 3 + tonumber(ARGV[at + 3])
      if repeats[event] then
        answers[#answers + 1] = repeats[event]
      else
        local id = string.format('%.0f', head + 1)
        local added = redis.pcall('XADD', log, id .. '-0', 'e', ARGV[1], 't', ARGV[at + 2], 'v', tag, unpack(ARGV, at + 4, last))
        if type(added) == 'table' and added.err then return added end
        head, tag = head + 1, ARGV[at + 2]
        local key = tonumber(ARGV[at])
        if key > 0 then
          redis.call('SET', KEYS[key], ARGV[at + 1] .. ' ' .. id .. ' ' .. tag, 'PX', ARGV[4])
        end
        answers[#answers + 1] = head
      end
      at = last + 1
    end
  end
end
if head > before then redis.call('HSET', meta, 'head', string.format('%.0f', head), 'tag', tag) end
return answers
";

/// Begins an epoch at the head.
///
/// `KEYS`: log, meta, epochs. `ARGV`: the newest epoch that the caller knows, or nothing where it saw none; the new one; the
/// row's JSON without its end; replication id; rows kept; what the row tells of, as `epoch-offset`, or nothing.
/// Answers `{'begun', row}`, `{'known'}` where a row tells of that already, `{'other', newest}` where the caller was late.
pub(super) const BEGIN: &str = r#"
local log, meta, epochs = KEYS[1], KEYS[2], KEYS[3]
if ARGV[6] ~= '' then
  for _, row in ipairs(redis.call('LRANGE', epochs, 0, -1)) do
    if cjson.decode(row).of == ARGV[6] then return {'known'} end
  end
end
local state = redis.call('HMGET', meta, 'epoch', 'head')
if (state[1] or '') ~= ARGV[1] then return {'other', state[1] or ''} end
local head = state[2] or '0'
if ARGV[1] == '' then
  if redis.call('EXISTS', log, meta, epochs) > 0 then return {'other', ''} end
  redis.call('HSET', meta, 'head', '0', 'tag', '00000000')
end
local row = ARGV[3] .. ',"after":' .. head .. '}'
redis.call('RPUSH', epochs, row)
redis.call('LTRIM', epochs, -tonumber(ARGV[5]), -1)
redis.call('HSET', meta, 'epoch', ARGV[2], 'replid', ARGV[4])
return {'begun', row}
"#;

/// Drops old entries, never the newest.
///
/// `KEYS`: log, meta. `ARGV`: milliseconds since 1970 before which entries are too old, bytes of the log.
/// Answers the oldest offset that is kept, the bytes before, how many were dropped. Offsets have no holes, so the first entry
/// that is young enough is found by halving; bytes are what Redis itself estimates.
pub(super) const TRIM: &str = r"
local log = KEYS[1]
local function at(id)
  local entry = redis.call('XRANGE', log, id, '+', 'COUNT', 1)[1]
  for field = 1, #entry[2], 2 do
    if entry[2][field] == 'at' then return tonumber(entry[2][field + 1]), entry[1] end
  end
  return 0, entry[1]
end
local length = redis.call('XLEN', log)
if length == 0 then return {0, 0, 0} end
local head = tonumber(redis.call('HGET', KEYS[2], 'head'))
local limit = tonumber(ARGV[1])
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
";
