//! Resume: the position at which a stream begins, and the gap that it reports first.

use std::collections::BTreeSet;

use tidings_protocol::{Epoch, EventId, Skip, Subscription, Tag, body::GapReason};

use super::checkpoint::LostChannels;
use super::entry::Millis;
use super::index::ChannelIndex;
use super::state::LogState;
use super::subscriptions::{subscription_texts, wants};

/// Channel names in a gap; a gap of more lists the subscriptions instead.
const GAP_CHANNELS_MAX: usize = 256;

/// Position at which a client asks to begin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// With the next published event.
    #[default]
    Now,
    /// After the event with this id, as the client sent it.
    After(String),
    /// With this number of newest stored events of its channels.
    History(u64),
    /// With all stored events of its channels.
    WholeHistory,
    /// Like [`Start::History`] after a gap: the id of the client cannot be parsed.
    HistoryAfterMalformed(u64),
}

/// Position from which a stream goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumePoint {
    pub cursor: u64,
    pub tag: Tag,
    /// Events above the cursor that the client has.
    pub skips: Vec<Skip>,
    pub gap: Option<Gap>,
    /// Trims up to this serial are reported.
    pub gaps_reported_to: u64,
    /// Events up to this offset are replayed.
    pub replay_until: u64,
    /// Transitions up to this number are applied.
    pub transitions_applied: u64,
    pub newest: Epoch,
}

/// Events that the client should have had and cannot get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    pub channels: Vec<String>,
    pub reason: GapReason,
    pub requested: Option<String>,
}

/// Result of checking an id.
pub(super) struct IdCheck {
    /// Replay begins above this offset.
    pub(super) from: u64,
    pub(super) skips: Vec<Skip>,
    /// Reason of the gap, if the id cannot be resumed from without loss.
    pub(super) reason: Option<GapReason>,
}

impl LogState {
    pub(super) fn resume_point(
        &self,
        start: &Start,
        subscriptions: &[Subscription],
        now: Millis,
    ) -> ResumePoint {
        match start {
            Start::Now => self.resume_point_at(self.head),
            Start::History(events) => {
                self.at_history(subscriptions, usize::try_from(*events).unwrap_or(usize::MAX), now)
            }
            Start::HistoryAfterMalformed(events) => {
                let events = usize::try_from(*events).unwrap_or(usize::MAX);
                ResumePoint {
                    gap: self.malformed(subscriptions).gap,
                    ..self.at_history(subscriptions, events, now)
                }
            }
            Start::WholeHistory => {
                self.at(self.latest_safe_cursor(0, subscriptions), Vec::new(), None, self.head)
            }
            Start::After(text) => match text.parse::<EventId>() {
                Ok(id) => self.after(&id, text, subscriptions),
                Err(_) => self.malformed(subscriptions),
            },
        }
    }

    /// The position at an offset that was the head at some time.
    pub(super) fn resume_point_at(&self, cursor: u64) -> ResumePoint {
        self.at(cursor, Vec::new(), None, 0)
    }

    fn at(&self, cursor: u64, mut skips: Vec<Skip>, gap: Option<Gap>, replay_until: u64) -> ResumePoint {
        // After a gap the cursor may be above entries that had overtaken.
        skips.retain(|skip| skip.offset > cursor);
        ResumePoint {
            cursor,
            tag: self.tag_at(cursor),
            skips,
            gap,
            gaps_reported_to: self.index.trim_serial(),
            replay_until,
            transitions_applied: self.transitions.serial(),
            newest: self.newest(),
        }
    }

    fn malformed(&self, subscriptions: &[Subscription]) -> ResumePoint {
        let gap = Gap {
            channels: subscription_texts(subscriptions),
            reason: GapReason::Malformed,
            requested: None,
        };
        self.at(self.head, Vec::new(), Some(gap), 0)
    }

    /// The position before the newest `events` entries, without expired and superseded ones.
    fn at_history(&self, subscriptions: &[Subscription], events: usize, now: Millis) -> ResumePoint {
        let is_delivered =
            |offset| !self.index.is_over(offset, now, &|channel| wants(subscriptions, channel));
        let oldest = self.oldest_of_newest(subscriptions, events, &is_delivered);
        self.at(oldest.map_or(self.head, |oldest| oldest - 1), Vec::new(), None, self.head)
    }

    /// The oldest of the newest `events` entries that `is_wanted` accepts.
    pub(super) fn oldest_of_newest(
        &self,
        subscriptions: &[Subscription],
        events: usize,
        is_wanted: &dyn Fn(u64) -> bool,
    ) -> Option<u64> {
        let mut newest = BTreeSet::new();
        for row in subscriptions.iter().flat_map(|subscription| self.index.selected(subscription)) {
            for offset in row.newest_first() {
                if newest.len() >= events && newest.first().is_none_or(|oldest| offset < *oldest) {
                    break;
                }
                if !is_wanted(offset) {
                    continue;
                }
                newest.insert(offset);
                if newest.len() > events {
                    newest.pop_first();
                }
            }
        }
        newest.first().copied()
    }

    fn after(&self, id: &EventId, text: &str, subscriptions: &[Subscription]) -> ResumePoint {
        let id_check = self.check_id(id);
        let mut lost = self.lost_above(id_check.from, subscriptions);
        let crossed = id_check.reason.is_none().then(|| self.lost_after(id.epoch, subscriptions));
        let crossed = crossed.unwrap_or_default();
        let across = (!crossed.is_empty()).then_some(GapReason::Epoch);
        lost.extend(crossed);
        let reason = id_check.reason.or(across).or_else(|| (!lost.is_empty()).then_some(GapReason::Trimmed));
        let Some(reason) = reason else {
            return ResumePoint {
                tag: if id_check.from == id.offset { id.tag } else { self.tag_at(id_check.from) },
                ..self.at(id_check.from, id_check.skips, None, self.head)
            };
        };
        let channels = match reason {
            GapReason::Trimmed if lost.len() <= GAP_CHANNELS_MAX => lost.into_iter().collect(),
            GapReason::Epoch if across.is_some() && lost.len() <= GAP_CHANNELS_MAX => {
                lost.into_iter().collect()
            }
            _ => subscription_texts(subscriptions),
        };
        let gap = Gap { channels, reason, requested: Some(text.to_owned()) };
        self.at(self.latest_safe_cursor(id_check.from, subscriptions), id_check.skips, Some(gap), self.head)
    }

    /// Checks an id by its epoch, its offset and its tag.
    pub(super) fn check_id(&self, id: &EventId) -> IdCheck {
        let Some(end) = self.end_of(id.epoch) else {
            return IdCheck { from: 0, skips: Vec::new(), reason: Some(GapReason::Epoch) };
        };
        let mut reason = None;
        let mut skips = Vec::with_capacity(id.skips.len());
        for skip in &id.skips {
            // A skip is a cursor of its own: a bad one is dropped, and the client has lost events.
            if skip.offset > end {
                reason = Some(GapReason::Ahead);
            } else if self.differs(skip.offset, skip.tag) {
                reason = reason.or(Some(GapReason::Diverged));
            } else {
                skips.push(*skip);
            }
        }
        if id.offset > end {
            return IdCheck { from: end, skips: Vec::new(), reason: Some(GapReason::Ahead) };
        }
        if self.differs(id.offset, id.tag) {
            // The common prefix of the two histories is not known: all stored events are replayed.
            return IdCheck { from: 0, skips: Vec::new(), reason: Some(GapReason::Diverged) };
        }
        IdCheck { from: id.offset, skips, reason }
    }

    /// Whether the broker may know an id that this log does not know.
    pub(super) fn needs_barrier(&self, start: &Start) -> bool {
        let Start::After(text) = start else { return false };
        let Ok(id) = text.parse::<EventId>() else { return false };
        let Some(end) = self.end_of(id.epoch) else { return true };
        // Only the newest epoch grows.
        let may_be_short = id.epoch == self.newest();
        let mut marks = id.skips.iter().map(|skip| (skip.offset, skip.tag)).chain([(id.offset, id.tag)]);
        marks.any(|(offset, tag)| (offset > end && may_be_short) || self.differs(offset, tag))
    }

    pub(super) fn differs(&self, offset: u64, tag: Tag) -> bool {
        let held = self.tag_at(offset);
        held != Tag(0) && tag != Tag(0) && held != tag
    }

    /// Lost channels of the epochs after this one, of those that the subscriptions match.
    fn lost_after(&self, epoch: Epoch, subscriptions: &[Subscription]) -> BTreeSet<String> {
        let later = self.epochs.iter().skip_while(|row| row.epoch() != epoch).skip(1);
        let lossy = later.filter(|row| row.lost != LostChannels::None);
        lossy.flat_map(|row| row.lost.of(subscriptions)).collect()
    }

    /// The highest cursor from which no entry above `from` is missed.
    pub(super) fn latest_safe_cursor(&self, from: u64, subscriptions: &[Subscription]) -> u64 {
        subscriptions
            .iter()
            .flat_map(|subscription| self.index.selected(subscription))
            .filter_map(|row| row.above(from).next().copied())
            .min()
            .map_or(self.head, |next| next - 1)
    }

    /// Channels that lost entries above `cursor`; a subscription stands for channels that are no longer known.
    pub(super) fn lost_above(&self, cursor: u64, subscriptions: &[Subscription]) -> BTreeSet<String> {
        let mut lost = BTreeSet::new();
        if self.index.highest_trim() <= cursor {
            return lost;
        }
        let floor = self.index.default_trim().offset;
        let has_lost = |row: &&ChannelIndex| row.trim().offset > cursor;
        for subscription in subscriptions {
            let is_unlisted = match subscription {
                Subscription::Channel(name) => self.index.channel(name.as_str()).is_none(),
                Subscription::Pattern(_) => true,
            };
            if is_unlisted && floor > cursor {
                lost.insert(subscription.as_str().to_owned());
            }
            lost.extend(self.index.selected(subscription).filter(has_lost).map(|row| row.name.to_string()));
        }
        lost
    }
}

#[cfg(test)]
mod tests;
