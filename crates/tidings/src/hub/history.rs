//! Reads of stored events as JSON.

use tidings_log::{HistoryRange, Log, Millis};
use tidings_protocol::body::{GapNotice, HistoryEvent, HistoryPage};
use tidings_protocol::{ChannelName, EventId};

use crate::auth::SubscribePermit;
use crate::connection::Start;
use crate::error::{Code, Error};

/// A read of one channel's stored events. Default: the oldest 100.
#[derive(Debug, Clone)]
#[must_use = "`Hub::history` reads what a request asks for"]
pub struct HistoryRequest {
    pub(super) channel: ChannelName,
    range: HistoryRange,
}

impl HistoryRequest {
    /// Default of [`HistoryRequest::limit`], in events.
    pub const LIMIT_DEFAULT: usize = 100;

    /// Bound of [`HistoryRequest::limit`], in events.
    pub const LIMIT_MAX: usize = 1000;

    /// Reads the oldest stored events of a channel.
    pub fn new(channel: ChannelName) -> Self {
        let range = HistoryRange {
            start: Start::WholeHistory,
            until: None,
            limit: Self::LIMIT_DEFAULT,
            is_newest: false,
        };
        Self { channel, range }
    }

    /// Reads only events after this id, which is an event's or a page's `next`. Default: from the oldest event.
    pub fn after(mut self, id: impl Into<String>) -> Self {
        self.range.start = Start::After(id.into());
        self
    }

    /// Reads no event after this id. Default: up to the newest event.
    pub fn until(mut self, id: EventId) -> Self {
        self.range.until = Some(id);
        self
    }

    /// Reads at most `events` events, the oldest of them; 1 to [`HistoryRequest::LIMIT_MAX`]. Default: 100.
    pub fn limit(mut self, events: usize) -> Self {
        (self.range.limit, self.range.is_newest) = (events, false);
        self
    }

    /// Reads at most `events` events, the newest of them. Replaces [`HistoryRequest::limit`].
    pub fn last(mut self, events: usize) -> Self {
        (self.range.limit, self.range.is_newest) = (events, true);
        self
    }

    /// Returns the range, if the limit is within its bounds.
    pub(super) fn range(self) -> Result<HistoryRange, Error> {
        let (limit, bound) = (self.range.limit, Self::LIMIT_MAX);
        if !(1..=bound).contains(&limit) {
            let detail = format!("limit is {limit}; it may be 1 to {bound}; read further pages by `after`");
            return Err(Error::new(Code::BadQuery, detail));
        }
        Ok(self.range)
    }
}

/// Reads a page. Blocks while it reads the disk.
pub(super) fn read(log: &Log, permit: &SubscribePermit, range: &HistoryRange) -> HistoryPage {
    let history = log.history(range, permit.subscriptions());
    let names = |channels: &[ChannelName]| {
        let readable = channels.iter().filter(|channel| permit.may_name(channel));
        readable.map(ToString::to_string).collect()
    };
    HistoryPage {
        events: history
            .entries
            .iter()
            .map(|entry| HistoryEvent {
                id: EventId::new(history.newest, entry.offset, entry.tag).to_string(),
                offset: entry.offset,
                channels: names(&entry.channels),
                event: entry.event.as_ref().map(|event| event.as_str().to_owned()),
                data: entry.data(),
                published_at: iso_8601(entry.published_at),
            })
            .collect(),
        next: history.next.map(|id| id.to_string()),
        gap: history.gap.map(|(gap, resumed_at)| GapNotice {
            channels: gap.channels,
            reason: gap.reason,
            requested: gap.requested,
            resumed_at: resumed_at.to_string(),
        }),
    }
}

/// Formats a time as ISO 8601 with milliseconds.
pub(crate) fn iso_8601(at: Millis) -> String {
    let at = i64::try_from(at).ok().and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    at.map(|at| format!("{at:.3}")).unwrap_or_default()
}
