//! Commands of a Pub/Sub connection, in the order of their replies.

use std::collections::VecDeque;

use super::target::PubsubTarget;
use crate::resp::RedisCommand;

/// Names or globs in one command.
const TARGETS_PER_COMMAND_MAX: usize = 1000;

/// A command with names only or globs only.
#[derive(Debug)]
pub(crate) enum PendingCommand {
    Subscribe(Vec<PubsubTarget>),
    Unsubscribe(Vec<PubsubTarget>),
    Ping,
}

impl PendingCommand {
    pub(crate) fn subscribe(targets: Vec<PubsubTarget>) -> Vec<Self> {
        split(targets).into_iter().map(Self::Subscribe).collect()
    }

    pub(crate) fn unsubscribe(targets: Vec<PubsubTarget>) -> Vec<Self> {
        split(targets).into_iter().map(Self::Unsubscribe).collect()
    }

    pub(crate) fn command(&self) -> RedisCommand {
        let (names, globs, targets) = match self {
            Self::Subscribe(targets) => ("SUBSCRIBE", "PSUBSCRIBE", targets),
            Self::Unsubscribe(targets) => ("UNSUBSCRIBE", "PUNSUBSCRIBE", targets),
            Self::Ping => return RedisCommand::new("PING"),
        };
        let mut command =
            RedisCommand::new(if matches!(targets[..], [PubsubTarget::Glob(_), ..]) { globs } else { names });
        for PubsubTarget::Name(text) | PubsubTarget::Glob(text) in targets {
            command.push(text);
        }
        command
    }

    /// Returns the number of replies that Redis sends if it accepts the command.
    fn reply_count(&self) -> usize {
        match self {
            Self::Subscribe(targets) | Self::Unsubscribe(targets) => targets.len(),
            Self::Ping => 1,
        }
    }
}

/// Splits targets into names and globs, and limits the number in each part.
fn split(targets: Vec<PubsubTarget>) -> Vec<Vec<PubsubTarget>> {
    let (names, globs): (Vec<_>, Vec<_>) =
        targets.into_iter().partition(|target| matches!(target, PubsubTarget::Name(_)));
    let chunks =
        [&names, &globs].map(|targets| targets.chunks(TARGETS_PER_COMMAND_MAX).map(<[PubsubTarget]>::to_vec));
    chunks.into_iter().flatten().collect()
}

/// Commands without all of their replies.
#[derive(Debug, Default)]
pub(crate) struct PendingCommands {
    commands: VecDeque<PendingCommand>,
    /// Number of replies to the first command.
    replies: usize,
}

impl PendingCommands {
    pub(crate) fn push(&mut self, command: PendingCommand) {
        self.commands.push_back(command);
    }

    /// Notes a reply.
    pub(crate) fn note_reply(&mut self) {
        self.replies += 1;
        if self.commands.front().is_none_or(|first| self.replies >= first.reply_count()) {
            self.next();
        }
    }

    /// Takes the command that is answered next.
    pub(crate) fn next(&mut self) -> Option<PendingCommand> {
        self.replies = 0;
        self.commands.pop_front()
    }
}
