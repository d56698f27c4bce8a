//! Channel histories of a node: compared with the log in Redis, or read as the log of a single node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use tidings_protocol::EventId;
use tidings_protocol::body::HistoryEvent;

use super::history::{InjectedLoss, TaggedOffset};
use super::redis_log::LogRecord;
use crate::channel_history;
use crate::oracle::label_of;
use crate::violation::{Violation, ViolationKind};

/// Events on a page.
const PAGE_EVENTS: usize = 500;

/// Reads every channel's history from a node, and returns differences from the log.
pub(super) async fn compare(
    address: SocketAddr,
    node: usize,
    channels: &[String],
    log: &[LogRecord],
    losses: &[InjectedLoss],
) -> Vec<Violation> {
    let mut violations = Vec::new();
    let kept: BTreeSet<TaggedOffset> = log.iter().map(|record| record.place).collect();
    let trimmed = trimmed(losses);
    for channel in channels {
        let of_channel = log.iter().filter(|record| record.channels.contains(channel));
        let expected: Vec<TaggedOffset> = of_channel.map(|record| record.place).collect();
        let text = match read(address, channel).await {
            Ok(records) => {
                // A running node has trimmed entries in memory.
                let is_due = |place: &TaggedOffset| place.offset > trimmed || kept.contains(place);
                let places: Vec<_> = records.iter().map(|record| record.place).filter(is_due).collect();
                if places == expected {
                    continue;
                }
                let at =
                    places.iter().zip(&expected).take_while(|(place, expected)| place == expected).count();
                let (first, other) = (places.get(at), expected.get(at));
                format!("differs from redis at {at} of {}: {first:?}, not {other:?}", expected.len())
            }
            Err(text) => text,
        };
        let text = format!("history of {channel} at node {node} {text}");
        violations.push(Violation::new(ViolationKind::WrongContent, text));
    }
    violations
}

/// Newest offset that a trim removed since the last loss of all entries; 0 if there is none.
fn trimmed(losses: &[InjectedLoss]) -> u64 {
    let since = losses.iter().rev().take_while(|loss| loss.trimmed.is_some() || !loss.kept.is_empty());
    since.filter_map(|loss| loss.trimmed).max().unwrap_or(0)
}

/// Reads all entries of these channels from a node, oldest first.
///
/// # Errors
/// A history that is not one of the checker's events.
pub(super) async fn read_log(address: SocketAddr, channels: &[String]) -> Result<Vec<LogRecord>, String> {
    let mut records = BTreeMap::new();
    for channel in channels {
        let describe = |text| format!("history of {channel} {text}");
        let read = read(address, channel).await.map_err(describe)?;
        if let Some(pair) = read.windows(2).find(|pair| pair[0].place.offset >= pair[1].place.offset) {
            return Err(describe(format!("has {:?} before {:?}", pair[0], pair[1])));
        }
        records.extend(read.into_iter().map(|record| (record.place, record)));
    }
    Ok(records.into_values().collect())
}

async fn read(address: SocketAddr, channel: &str) -> Result<Vec<LogRecord>, String> {
    let history = channel_history::read(address, channel, PAGE_EVENTS).await;
    if let Some(text) = history.error {
        return Err(format!("cannot be read: {text}"));
    }
    if let Some(gap) = history.gaps.first() {
        return Err(format!("has {gap:?}"));
    }
    history.events.into_iter().map(record).collect()
}

fn record(event: HistoryEvent) -> Result<LogRecord, String> {
    let id: EventId = event.id.parse().map_err(|error| format!("has an id: {error}"))?;
    let label = label_of(&event.data).ok_or_else(|| format!("has {event:?}"))?;
    Ok(LogRecord { place: TaggedOffset::from(&id), channels: event.channels, label })
}
