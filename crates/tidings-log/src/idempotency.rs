//! Idempotency keys: a repeat of a publish gets the answer of the first.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tidings_protocol::Tag;

use super::checkpoint::KeyRow;
use super::entry::{EntryMeta, Idempotency, Millis};

/// Offset and tag that the first publish got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RememberedAnswer {
    pub offset: u64,
    pub tag: Tag,
}

/// Result of looking up a key.
#[derive(Debug, PartialEq, Eq)]
pub enum KeyLookup {
    /// The key is new.
    New,
    /// The same event was published before.
    Repeat(RememberedAnswer),
    /// Another event was published with the key.
    Conflict,
}

#[derive(Debug)]
struct Remembered {
    fingerprint: [u8; 16],
    answered: RememberedAnswer,
    published_at: Millis,
}

type KeyName = (Arc<str>, Arc<str>);

/// Keys of the last window, by publisher.
#[derive(Debug)]
pub struct IdempotencyKeys {
    known: HashMap<KeyName, Remembered>,
    /// In order of publishing; an older use of a key that was used again is ignored.
    by_age: VecDeque<(Millis, KeyName)>,
    window: Millis,
    keys_max: usize,
}

impl IdempotencyKeys {
    pub fn new(window: Millis, keys_max: u64) -> Self {
        Self {
            known: HashMap::new(),
            by_age: VecDeque::new(),
            window,
            keys_max: usize::try_from(keys_max).unwrap_or(usize::MAX),
        }
    }

    /// Looks a key up.
    pub fn look_up(&self, idempotency: &Idempotency) -> KeyLookup {
        let name = (idempotency.publisher.clone(), idempotency.key.clone());
        match self.known.get(&name) {
            None => KeyLookup::New,
            Some(known) if known.fingerprint == idempotency.fingerprint => KeyLookup::Repeat(known.answered),
            Some(_) => KeyLookup::Conflict,
        }
    }

    /// Remembers the key of a stored entry.
    pub(crate) fn remember(&mut self, entry: &EntryMeta<'_>) {
        let Some(idempotency) = entry.idempotency else { return };
        self.insert(
            (idempotency.publisher.clone(), idempotency.key.clone()),
            Remembered {
                fingerprint: idempotency.fingerprint,
                answered: RememberedAnswer { offset: entry.offset, tag: entry.tag },
                published_at: entry.published_at,
            },
        );
    }

    fn insert(&mut self, name: KeyName, remembered: Remembered) {
        self.by_age.push_back((remembered.published_at, name.clone()));
        self.known.insert(name, remembered);
    }

    /// Drops keys that are older than the window.
    pub fn forget_old(&mut self, now: Millis) {
        while let Some((published_at, name)) = self.by_age.front() {
            if published_at.saturating_add(self.window) > now {
                break;
            }
            if self.known.get(name).is_some_and(|known| known.published_at == *published_at) {
                self.known.remove(name);
            }
            self.by_age.pop_front();
        }
    }

    /// Whether there is room for `more` new keys.
    pub fn has_room(&self, more: usize) -> bool {
        self.known.len() + more <= self.keys_max
    }

    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// The keys whose entries are not kept, oldest first.
    pub(crate) fn rows(&self, is_kept: &dyn Fn(u64) -> bool) -> Vec<KeyRow> {
        let mut rows: Vec<KeyRow> = self
            .known
            .iter()
            .filter(|(_, known)| !is_kept(known.answered.offset))
            .map(|((publisher, key), known)| KeyRow {
                publisher: publisher.to_string(),
                key: key.to_string(),
                fingerprint: known.fingerprint,
                offset: known.answered.offset,
                tag: known.answered.tag.0,
                published_at: known.published_at,
            })
            .collect();
        rows.sort_unstable_by_key(|row| row.offset);
        rows
    }

    /// Restores a key whose entry is not kept.
    pub(crate) fn restore(&mut self, row: &KeyRow) {
        self.insert(
            (row.publisher.as_str().into(), row.key.as_str().into()),
            Remembered {
                fingerprint: row.fingerprint,
                answered: RememberedAnswer { offset: row.offset, tag: Tag(row.tag) },
                published_at: row.published_at,
            },
        );
    }
}

#[cfg(test)]
mod tests;
