//! What is appended, and what the script says of it.

use std::fmt;

use tidings_protocol::{ChannelName, Epoch, Tag};

use super::{
    RedisKeys,
    error::RedisError,
    mirror::Mirror,
    record::{self, hex},
    resp::{RedisCommand, RedisReply},
    scripts::Script,
};
use crate::log::entry::{NewEntry, offset_within};

/// One publish: its events are appended together or not at all.
#[derive(Debug, Clone)]
pub(crate) struct Append {
    pub(crate) events: Vec<NewEvent>,
}

/// An event without a place.
#[derive(Debug, Clone)]
pub(crate) struct NewEvent {
    pub(crate) draft: NewEntry,
    /// Random, never 0.
    pub(crate) tag: Tag,
}

impl NewEvent {
    /// Draws the tag.
    pub(super) fn new(draft: NewEntry, random: fn() -> u64) -> Self {
        // Zero is the tag that compares with none.
        Self { draft, tag: Tag((random() as u32).max(1)) }
    }
}

/// What the appender knows of the log: the newest epoch, and the newest entry that it has seen or had acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LastSeen {
    pub(crate) epoch: Epoch,
    /// 0 where it has seen none.
    pub(crate) offset: u64,
    pub(crate) tag: Tag,
}

/// The place of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) offset: u64,
    pub(crate) tag: Tag,
    /// It was published before under the same key, and this is where it stands since then.
    pub(crate) is_repeat: bool,
}

/// What became of a publish in a batch that was not refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AppendOutcome {
    /// One for each of its events.
    Appended(Vec<Appended>),
    /// Nothing of it was appended: the key of this event, from 0, was used for something else.
    Conflict { index: usize },
}

/// Why nothing of a batch was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AppendRefusal {
    /// Another epoch is the newest; none where the log is not there at all.
    OldEpoch { newest: Option<Epoch> },
    /// The log does not hold what the appender knows to have been in it.
    Diverged { head: u64 },
    /// It captures no more, or messages are in the log that it did not know of.
    Uncaptured,
}

/// Who captures what he appends, from which place to which.
#[derive(Debug, Clone, Copy)]
pub(super) struct CaptureAppend<'a> {
    pub(super) holder: &'a str,
    /// As Redis has it.
    pub(super) from: &'a str,
    pub(super) to: &'a str,
}

/// Why a batch has no answer.
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

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(AppendRefusal::OldEpoch { newest: Some(newest) }) => {
                write!(f, "the newest epoch in redis is {newest}")
            }
            Self::Refused(AppendRefusal::OldEpoch { newest: None }) => f.write_str("redis holds no log"),
            Self::Refused(AppendRefusal::Diverged { head }) => {
                write!(f, "redis, at {head}, does not hold an event that it had")
            }
            Self::Refused(AppendRefusal::Uncaptured) => f.write_str("another node captures"),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for AppendError {}

/// What a call is made of besides its publishes.
pub(super) struct AppendCall<'a> {
    pub(super) script: &'a Script,
    pub(super) keys: &'a RedisKeys,
    pub(super) witness: LastSeen,
    pub(super) window_ms: u64,
    /// None where publishes of this node are appended.
    pub(super) capture: Option<CaptureAppend<'a>>,
    /// Of what other programs are told; none where they have heard it.
    pub(super) mirror: Option<&'a Mirror>,
}

impl AppendCall<'_> {
    /// The call for a batch.
    pub(super) fn command(&self, batch: &[Append]) -> RedisCommand {
        let events = || batch.iter().flat_map(|publish| &publish.events);
        let idempotencies = || events().filter_map(|it| it.draft.idempotency.as_ref());
        let keys_of_capture = if self.capture.is_some() { 2 } else { 0 };
        let mut command = self.script.call(3 + idempotencies().count() + keys_of_capture);
        command.push(&self.keys.log);
        command.push(&self.keys.meta);
        command.push(&self.keys.epochs);
        for it in idempotencies() {
            command.push(self.keys.idempotency(&it.publisher, &it.key));
        }
        if self.capture.is_some() {
            command.push(&self.keys.lease);
            command.push(&self.keys.captured);
        }
        command.push(self.witness.epoch.to_string());
        command.push_number(self.witness.offset);
        command.push(self.witness.tag.to_string());
        command.push_number(self.window_ms.max(1));
        let CaptureAppend { holder, from, to } =
            self.capture.unwrap_or(CaptureAppend { holder: "", from: "", to: "" });
        for text in [holder, from, to, &self.keys.live] {
            command.push(text);
        }
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
        let NewEvent { draft, tag } = event;
        let mirrored: Vec<&str> = match self.mirror {
            Some(mirror) => {
                draft.channels.iter().filter(|it| mirror.has(it)).map(ChannelName::as_str).collect()
            }
            None => Vec::new(),
        };
        let fields = record::further_fields(draft);
        let is_plain = draft.idempotency.is_none() && mirrored.is_empty() && fields.is_empty();
        let more = if is_plain { 0 } else { 3 + mirrored.len() + 2 * fields.len() };
        command.push_number(more as u64);
        command.push(record::header(self.witness.epoch, *tag, before, draft));
        command.push(&*draft.data);
        if is_plain {
            return;
        }
        match &draft.idempotency {
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

/// Reads the answer to a batch, and what follows that.
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

/// The batch was taken, and the answer to it tells nothing.
fn unexpected_reply() -> RedisError {
    RedisError::OutcomeUnknown("redis answered an append with what the script does not say".into())
}
