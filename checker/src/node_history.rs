//! Channel histories of a node: the log of a single node, or a copy of the log in Redis.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use tidings_protocol::EventId;
use tidings_protocol::body::{GapNotice, HistoryEvent, HistoryPage};
use tokio::time::timeout;

use crate::history::{EventLabel, History, InjectedLoss, LogPosition};
use crate::http;
use crate::oracle::LogRecord;
use crate::violation::{Violation, ViolationKind};

/// Longest time in which a channel's history is read.
const READ_DEADLINE: Duration = Duration::from_secs(60);
/// Events on a page.
const PAGE_EVENTS: usize = 300;

/// Events and gaps of one channel's history.
#[derive(Default)]
struct ChannelHistory {
    /// Oldest first.
    events: Vec<HistoryEvent>,
    gaps: Vec<GapNotice>,
}

/// Reads the histories of all channels from a node, and merges them to its log, oldest entry first.
pub(crate) async fn read_log(address: SocketAddr, history: &History) -> (Vec<LogRecord>, Vec<Violation>) {
    let mut log: BTreeMap<LogPosition, LogRecord> = BTreeMap::new();
    let mut violations = Vec::new();
    for name in &history.channels {
        let text = |text| format!("history of {name} at {address}: {text}");
        let outcome = match timeout(READ_DEADLINE, read_channel(address, name)).await {
            Err(_) => Err((ViolationKind::Stuck, "it was not read in time".to_owned())),
            Ok(outcome) => outcome.map_err(|error| (ViolationKind::BrokenProtocol, error)),
        };
        let channel = outcome.unwrap_or_else(|(kind, error)| {
            violations.push(Violation::new(kind, text(error)));
            ChannelHistory::default()
        });
        let mut report = |kind, found| violations.push(Violation::new(kind, text(found)));
        for (position, label) in locate(history, channel, &mut report) {
            let record = LogRecord { position, channels: Vec::new(), label };
            let record = log.entry(position).or_insert(record);
            if record.label != label {
                report(ViolationKind::WrongContent, format!("{position} has {label}, and {}", record.label));
            }
            record.channels.push(name.clone());
        }
    }
    (log.into_values().collect(), violations)
}

/// Returns differences of a node's log from the one in Redis.
pub(crate) fn compare(
    node: usize,
    found: &[LogRecord],
    log: &[LogRecord],
    history: &History,
) -> Vec<Violation> {
    let kept: BTreeSet<LogPosition> = log.iter().map(|record| record.position).collect();
    let trimmed = trimmed(&history.records().losses);
    let of_channel = |records: &[LogRecord], name: &String| -> Vec<LogPosition> {
        let records = records.iter().filter(|record| record.channels.contains(name));
        records.map(|record| record.position).collect()
    };
    let mut violations = Vec::new();
    for name in &history.channels {
        let expected = of_channel(log, name);
        let mut positions = of_channel(found, name);
        // A running node has trimmed entries in memory.
        positions.retain(|position| position.offset > trimmed || kept.contains(position));
        if positions != expected {
            let at =
                positions.iter().zip(&expected).take_while(|(found, expected)| found == expected).count();
            let (first, other, all) = (positions.get(at), expected.get(at), expected.len());
            let text = format!(
                "history of {name} at node {node} differs from redis at {at} of {all}: {first:?}, not {other:?}"
            );
            violations.push(Violation::new(ViolationKind::WrongContent, text));
        }
    }
    violations
}

/// Newest offset that a trim removed since the last loss of all entries; 0 if there is none.
fn trimmed(losses: &[InjectedLoss]) -> u64 {
    let since = losses.iter().rev().take_while(|loss| loss.trimmed.is_some() || !loss.kept.is_empty());
    since.filter_map(|loss| loss.trimmed).max().unwrap_or(0)
}

/// Checks content and order of a channel's history, and returns the positions of its events.
fn locate(
    history: &History,
    ChannelHistory { events, gaps }: ChannelHistory,
    report: &mut impl FnMut(ViolationKind, String),
) -> Vec<(LogPosition, EventLabel)> {
    for gap in gaps {
        report(ViolationKind::SpuriousGap, format!("{gap:?}; every event was published before"));
    }
    let mut located: Vec<(LogPosition, EventLabel)> = Vec::new();
    let mut known = BTreeSet::new();
    for event in events {
        let id = event.id.parse::<EventId>().ok().filter(|id| id.offset == event.offset);
        let (Some(id), Some(label)) = (id, EventLabel::parse(&event.data)) else {
            report(ViolationKind::WrongContent, format!("{event:?}"));
            continue;
        };
        if let Err(text) = history.check_content(label, event.event.as_deref(), &event.data) {
            report(ViolationKind::WrongContent, text);
        }
        let position = history.position(&id);
        if let Some((before, other)) = located.last().filter(|(before, _)| before.offset >= position.offset) {
            let text = format!("{other} at {before} comes before {label} at {position}");
            report(ViolationKind::Reordered, text);
        }
        if !known.insert(label) {
            report(ViolationKind::Duplicated, format!("event {label} at {position} comes twice"));
        }
        located.push((position, label));
    }
    located
}

async fn read_channel(address: SocketAddr, channel: &str) -> Result<ChannelHistory, String> {
    let mut history = ChannelHistory::default();
    let mut after = String::new();
    loop {
        let path = format!("/api/v1/channels/{channel}/events?limit={PAGE_EVENTS}{after}");
        let body = http::get_ok(address, &path).await?;
        let page: HistoryPage =
            serde_json::from_slice(&body).map_err(|error| format!("GET {path} returned {error}"))?;
        let is_empty = page.events.is_empty();
        history.events.extend(page.events);
        history.gaps.extend(page.gap);
        match page.next {
            Some(next) if is_empty => return Err(format!("GET {path} returned no event and next {next}")),
            Some(next) => after = format!("&after={next}"),
            None => return Ok(history),
        }
    }
}

#[cfg(test)]
mod tests;
