//! Stored events as JSON, for those who ask instead of listening.

use tidings_protocol::{
    ChannelName, EventId,
    body::{GapNotice, HistoryEvent, HistoryPage},
};

use crate::{
    auth::SubscribePermit,
    log::{Log, entry::Millis, history::Wanted},
};

/// Reads a page; it may read the disk.
pub(super) fn read(log: &Log, permit: &SubscribePermit, wanted: &Wanted) -> HistoryPage {
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
