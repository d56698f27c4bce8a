//! Stored events as JSON, for those who ask instead of listening.

use tidings_protocol::{
    ChannelName, EventId,
    body::{GapNotice, HistoryEvent, HistoryPage},
};

use crate::{
    auth::SubscribePermit,
    connection::Start,
    error::{Code, Error},
    log::{Log, entry::Millis, history::HistoryRange},
};

/// Which stored events of a channel to read: by default the oldest 100.
#[derive(Debug, Clone)]
#[must_use = "`Hub::history` reads what a request asks for"]
pub struct HistoryRequest {
    pub(super) channel: ChannelName,
    wanted: HistoryRange,
}

impl HistoryRequest {
    /// Events of a request that names no limit.
    pub const LIMIT_DEFAULT: usize = 100;

    /// The most events of one request.
    pub const LIMIT_MAX: usize = 1000;

    /// Asks for the oldest events that the channel has.
    pub fn new(channel: ChannelName) -> Self {
        let wanted = HistoryRange {
            start: Start::WholeHistory,
            until: None,
            limit: Self::LIMIT_DEFAULT,
            is_newest: false,
        };
        Self { channel, wanted }
    }

    /// Only events after the one with this id, or after the page whose `next` it is. Default: from the oldest on.
    pub fn after(mut self, id: impl Into<String>) -> Self {
        self.wanted.start = Start::After(id.into());
        self
    }

    /// Nothing after the event with this id. Default: up to the newest.
    pub fn until(mut self, id: EventId) -> Self {
        self.wanted.until = Some(id);
        self
    }

    /// At most so many events, from 1 to [`HistoryRequest::LIMIT_MAX`]; of more than that the oldest. Default: 100.
    pub fn limit(mut self, events: usize) -> Self {
        (self.wanted.limit, self.wanted.is_newest) = (events, false);
        self
    }

    /// As [`HistoryRequest::limit`], whose place it takes; of more than that the newest.
    pub fn last(mut self, events: usize) -> Self {
        (self.wanted.limit, self.wanted.is_newest) = (events, true);
        self
    }

    /// Holds the limit against its bounds.
    pub(super) fn wanted(self) -> Result<HistoryRange, Error> {
        let (limit, bound) = (self.wanted.limit, Self::LIMIT_MAX);
        if !(1..=bound).contains(&limit) {
            let detail = format!("limit is {limit}; it may be 1 to {bound}; read further pages by `after`");
            return Err(Error::new(Code::BadQuery, detail));
        }
        Ok(self.wanted)
    }
}

/// Reads a page; it may read the disk.
pub(super) fn read(log: &Log, permit: &SubscribePermit, wanted: &HistoryRange) -> HistoryPage {
    let history = log.history(wanted, permit.subscriptions());
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

/// A time as it is written everywhere.
pub(crate) fn iso_8601(at: Millis) -> String {
    let at = i64::try_from(at).ok().and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    at.map(|at| format!("{at:.3}")).unwrap_or_default()
}
