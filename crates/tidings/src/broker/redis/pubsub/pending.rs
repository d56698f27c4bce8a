//! What a connection that hears was asked, in the order in which it will be answered.

use std::collections::VecDeque;

use super::Wish;
use crate::broker::redis::resp::Command;

/// Names or globs in one command.
const WISHES_AT_ONCE: usize = 1000;

/// One command, about names only or globs only.
#[derive(Debug)]
pub(super) enum Question {
    Subscribe(Vec<Wish>),
    Unsubscribe(Vec<Wish>),
    Ping,
}

impl Question {
    pub(super) fn subscribe(wishes: Vec<Wish>) -> Vec<Self> {
        split(wishes).into_iter().map(Self::Subscribe).collect()
    }

    pub(super) fn unsubscribe(wishes: Vec<Wish>) -> Vec<Self> {
        split(wishes).into_iter().map(Self::Unsubscribe).collect()
    }

    pub(super) fn command(&self) -> Command {
        let (names, globs, wishes) = match self {
            Self::Subscribe(wishes) => ("SUBSCRIBE", "PSUBSCRIBE", wishes),
            Self::Unsubscribe(wishes) => ("UNSUBSCRIBE", "PUNSUBSCRIBE", wishes),
            Self::Ping => return Command::new("PING"),
        };
        let mut command = Command::new(if matches!(wishes[..], [Wish::Glob(_), ..]) { globs } else { names });
        for Wish::Name(text) | Wish::Glob(text) in wishes {
            command.push(text);
        }
        command
    }

    /// How many replies it gets, if it is not refused.
    fn answers(&self) -> usize {
        match self {
            Self::Subscribe(wishes) | Self::Unsubscribe(wishes) => wishes.len(),
            Self::Ping => 1,
        }
    }
}

/// Names apart from globs, and not too many together.
fn split(wishes: Vec<Wish>) -> Vec<Vec<Wish>> {
    let (names, globs): (Vec<_>, Vec<_>) = wishes.into_iter().partition(|wish| matches!(wish, Wish::Name(_)));
    let chunks = [&names, &globs].map(|wishes| wishes.chunks(WISHES_AT_ONCE).map(<[Wish]>::to_vec));
    chunks.into_iter().flatten().collect()
}

/// Questions without all their answers.
#[derive(Debug, Default)]
pub(super) struct Asked {
    questions: VecDeque<Question>,
    /// Answers that the first of them has.
    answers: usize,
}

impl Asked {
    pub(super) fn push(&mut self, question: Question) {
        self.questions.push_back(question);
    }

    /// One more answer came.
    pub(super) fn has_answered(&mut self) {
        self.answers += 1;
        if self.questions.front().is_none_or(|first| self.answers >= first.answers()) {
            self.next();
        }
    }

    /// Takes the question that is answered next.
    pub(super) fn next(&mut self) -> Option<Question> {
        self.answers = 0;
        self.questions.pop_front()
    }
}
