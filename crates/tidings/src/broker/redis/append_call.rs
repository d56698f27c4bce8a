//! Calls of the append script: its arguments, and its answer.

use std::fmt;

use tidings_log::{NewEntry, offset_within};
use tidings_protocol::{ChannelName, Epoch, Tag};
use tidings_redis::{RedisCommand, RedisError, RedisReply};

use super::keys::RedisKeys;
use super::mirror::Mirror;
use super::record::{self, hex};
use super::scripts::APPEND;

/// One publish: its events are appended together or not at all.
#[derive(Debug, Clone)]
pub(crate) struct Append {
    pub(crate) events: Vec<NewEvent>,
}

/// An event without an offset.
#[derive(Debug, Clone)]
pub(crate) struct NewEvent {
    pub(crate) entry: NewEntry,
    /// Random, never 0.
    pub(crate) tag: Tag,
}

impl NewEvent {
    /// Gives the event a random tag.
    pub(super) fn new(entry: NewEntry, random: fn() -> u64) -> Self {
        // Tag 0 means that the tag is unknown.
        Self { entry, tag: Tag((random() as u32).max(1)) }
    }
}

/// Newest epoch that a node knows, and the newest entry that it has read or that Redis acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LastSeen {
    pub(crate) epoch: Epoch,
    /// 0 if the node has seen no entry.
    pub(crate) offset: u64,
    pub(crate) tag: Tag,
}

/// Offset and tag of an appended event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) offset: u64,
    pub(crate) tag: Tag,
    /// The event was published before under the same idempotency key; offset and tag are those of that event.
    pub(crate) is_repeat: bool,
}

/// Outcome of a publish in a batch that Redis accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AppendOutcome {
    /// One item for each event of the publish.
    Appended(Vec<Appended>),
    /// Redis appended no event of the publish: the idempotency key of the event at `index` was used for another event.
    Conflict { index: usize },
}

/// Reason why Redis appended nothing of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AppendRefusal {
    /// Another epoch is the newest; `None` if Redis holds no log.
    OldEpoch { newest: Option<Epoch> },
    /// The log lacks an entry that the node has seen.
    Diverged { head: u64 },
    /// The node holds the capture lease no more, or another node has appended captured messages.
    Uncaptured,
}

/// Holder of the capture lease, and the captured positions before and after the append.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CaptureAppend<'a> {
    pub(super) holder: &'a str,
    /// Position that Redis holds.
    pub(super) from: &'a str,
    pub(super) to: &'a str,
}

/// Reason why a batch has no outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AppendError {
    Refused(AppendRefusal),
    Fault(RedisError),
}

impl From<RedisError> for AppendError {
    fn from(fault: RedisError) -> Self {
        Self::Fault(fault)
    }
}

impl fmt::Display for AppendRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OldEpoch { newest: Some(newest) } => write!(f, "the newest epoch in redis is {newest}"),
            Self::OldEpoch { newest: None } => f.write_str("redis holds no log"),
            Self::Diverged { head } => write!(f, "redis lost an event that it had; its newest is {head}"),
            Self::Uncaptured => f.write_str("another node captures"),
        }
    }
}

/// Arguments of an append call other than its publishes.
pub(super) struct AppendCall<'a> {
    pub(super) keys: &'a RedisKeys,
    pub(super) witness: LastSeen,
    pub(super) window_ms: u64,
    /// `None` if the call appends publishes of this node.
    pub(super) capture: Option<CaptureAppend<'a>>,
    /// Channels that are mirrored; `None` for captured messages, which other programs have received already.
    pub(super) mirror: Option<&'a Mirror>,
}

impl AppendCall<'_> {
    /// Returns the command for a batch.
    pub(super) fn command(&self, batch: &[Append]) -> RedisCommand {
        let events = || batch.iter().flat_map(|publish| &publish.events);
        let idempotencies = events().filter_map(|it| it.entry.idempotency.as_ref());
        let mut keys = [&self.keys.log, &self.keys.meta, &self.keys.epochs].map(String::clone).to_vec();
        keys.extend(idempotencies.map(|it| self.keys.idempotency(&it.publisher, &it.key)));
        if self.capture.is_some() {
            keys.extend([self.keys.lease.clone(), self.keys.captured.clone()]);
        }
        let mut command = APPEND.call(&keys).arg(self.witness.epoch.to_string());
        command.push_number(self.witness.offset);
        command.push(self.witness.tag.to_string());
        command.push_number(self.window_ms.max(1));
        let CaptureAppend { holder, from, to } = self.capture.unwrap_or_default();
        command = command.args([holder, from, to, &self.keys.live]);
        command.push_number(batch.len() as u64);
        let mut key_index = 3;
        let mut before = self.witness.tag;
        for publish in batch {
            command.push_number(publish.events.len() as u64);
            for event in &publish.events {
                self.push_event(event, before, &mut key_index, &mut command);
                before = event.tag;
            }
        }
        command
    }

    fn push_event(&self, event: &NewEvent, before: Tag, key_index: &mut u64, command: &mut RedisCommand) {
        let NewEvent { entry, tag } = event;
        let mirrored: Vec<&str> = match self.mirror {
            Some(mirror) => {
                entry.channels.iter().filter(|it| mirror.has(it)).map(ChannelName::as_str).collect()
            }
            None => Vec::new(),
        };
        let fields = record::further_fields(entry);
        let is_plain = entry.idempotency.is_none() && mirrored.is_empty() && fields.is_empty();
        let more = if is_plain { 0 } else { 3 + mirrored.len() + 2 * fields.len() };
        command.push_number(more as u64);
        command.push(record::header(self.witness.epoch, *tag, before, entry));
        command.push(&*entry.data);
        if is_plain {
            return;
        }
        match &entry.idempotency {
            Some(it) => {
                *key_index += 1;
                command.push_number(*key_index);
                command.push(it.fingerprint.map(|byte| format!("{byte:02x}")).concat());
            }
            None => {
                command.push("0");
                command.push("");
            }
        }
        command.push_number(mirrored.len() as u64);
        mirrored.iter().for_each(|channel| command.push(channel));
        for (name, value) in fields {
            command.push(name);
            command.push(value);
        }
    }
}

/// Reads the answer to a batch. Returns also the element after the outcomes, if any.
pub(super) fn outcomes(
    reply: &RedisReply,
    batch: &[Append],
) -> Result<(Vec<AppendOutcome>, Option<RedisReply>), AppendError> {
    let (word, answers) = reply.array().and_then(|parts| parts.split_first()).ok_or_else(unexpected_reply)?;
    match word.text() {
        Some(b"ok") => {}
        Some(b"epoch") => {
            let newest = answers.first().and_then(RedisReply::str).and_then(|text| hex(text, 16)).map(Epoch);
            return Err(AppendError::Refused(AppendRefusal::OldEpoch { newest }));
        }
        Some(b"diverged") => {
            let head = answers.first().and_then(RedisReply::number).ok_or_else(unexpected_reply)?;
            return Err(AppendError::Refused(AppendRefusal::Diverged { head }));
        }
        Some(b"uncaptured") => return Err(AppendError::Refused(AppendRefusal::Uncaptured)),
        _ => return Err(unexpected_reply().into()),
    }
    let mut answers = answers.iter().peekable();
    let outcomes = batch.iter().map(|publish| {
        let conflict = |reply: &&RedisReply| reply.str().is_some_and(|text| text.starts_with('!'));
        if let Some(reply) = answers.next_if(conflict) {
            let index = reply.str().and_then(|text| text[1..].parse().ok()).ok_or_else(unexpected_reply)?;
            return Ok(AppendOutcome::Conflict { index });
        }
        let appended = publish.events.iter().map(|event| place(answers.next(), event.tag));
        Ok(AppendOutcome::Appended(appended.collect::<Result<_, RedisError>>()?))
    });
    let outcomes = outcomes.collect::<Result<_, RedisError>>()?;
    Ok((outcomes, answers.next().cloned()))
}

fn place(answer: Option<&RedisReply>, tag: Tag) -> Result<Appended, RedisError> {
    match answer {
        Some(reply @ RedisReply::Number(_)) => {
            let offset = reply.number().and_then(offset_within).ok_or_else(unexpected_reply)?;
            Ok(Appended { offset, tag, is_repeat: false })
        }
        Some(reply) => {
            let (offset, tag) =
                reply.str().and_then(|text| text.split_once(' ')).ok_or_else(unexpected_reply)?;
            let offset = offset.parse().ok().and_then(offset_within).ok_or_else(unexpected_reply)?;
            let tag = hex(tag, 8).and_then(|tag| u32::try_from(tag).ok()).ok_or_else(unexpected_reply)?;
            Ok(Appended { offset, tag: Tag(tag), is_repeat: true })
        }
        None => Err(unexpected_reply()),
    }
}

/// Returns the error for an answer that cannot be read: the batch may be in the log.
fn unexpected_reply() -> RedisError {
    RedisError::OutcomeUnknown("the append script gave an unexpected answer".into())
}
