//! The history that a node tells: compared with the log in Redis, or taken as the log of a node that is alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use tidings_protocol::EventId;
use tidings_protocol::body::{HistoryEvent, HistoryPage};

use super::ledger::{Loss, Place};
use super::log::Entry;
use crate::http;
use crate::report::{Fault, FaultKind};
use crate::truth::label_of;

/// Events on a page.
const PAGE_EVENTS: usize = 500;

/// Reads every channel's history from a node, and returns where it is not the log.
pub(super) async fn compare(
    address: SocketAddr,
    node: usize,
    channels: &[String],
    log: &[Entry],
    losses: &[Loss],
) -> Vec<Fault> {
    let mut faults = Vec::new();
    let kept: BTreeSet<Place> = log.iter().map(|entry| entry.place).collect();
    let trimmed = trimmed(losses);
    for channel in channels {
        let expected: Vec<Place> =
            log.iter().filter(|entry| entry.channels.contains(channel)).map(|entry| entry.place).collect();
        let text = match read(address, channel).await {
            Ok(told) => {
                // A node that runs has in memory what only a trim took.
                let is_due = |place: &Place| place.offset > trimmed || kept.contains(place);
                let told: Vec<Place> = told.iter().map(|entry| entry.place).filter(is_due).collect();
                if told == expected {
                    continue;
                }
                let at = told.iter().zip(&expected).take_while(|(told, expected)| told == expected).count();
                let (first, other) = (told.get(at), expected.get(at));
                format!("differs from redis at {at} of {}: {first:?}, not {other:?}", expected.len())
            }
            Err(text) => text,
        };
        let text = format!("history of {channel} at node {node} {text}");
        faults.push(Fault::new(FaultKind::WrongContent, text));
    }
    faults
}

/// The newest offset that a trim took, since all was lost; 0 if none did.
fn trimmed(losses: &[Loss]) -> u64 {
    let since = losses.iter().rev().take_while(|loss| loss.trimmed.is_some() || !loss.kept.is_empty());
    since.filter_map(|loss| loss.trimmed).max().unwrap_or(0)
}

/// Reads all that a node holds of these channels, oldest first.
///
/// # Errors
/// An answer that is no history of the checker's events.
pub(super) async fn log(address: SocketAddr, channels: &[String]) -> Result<Vec<Entry>, String> {
    let mut entries = BTreeMap::new();
    for channel in channels {
        let describe = |text| format!("history of {channel} {text}");
        let told = read(address, channel).await.map_err(describe)?;
        if let Some(pair) = told.windows(2).find(|pair| pair[0].place.offset >= pair[1].place.offset) {
            return Err(describe(format!("has {:?} before {:?}", pair[0], pair[1])));
        }
        entries.extend(told.into_iter().map(|entry| (entry.place, entry)));
    }
    Ok(entries.into_values().collect())
}

async fn read(address: SocketAddr, channel: &str) -> Result<Vec<Entry>, String> {
    let mut told = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/api/v1/channels/{channel}/events?limit={PAGE_EVENTS}{after}");
        let (status, body) = http::get(address, &path).await.map_err(|error| error.to_string())?;
        let page: HistoryPage = serde_json::from_slice(&body)
            .map_err(|error| format!("is {status}: {error}: {}", String::from_utf8_lossy(&body)))?;
        if let Some(gap) = page.gap {
            return Err(format!("has {gap:?}"));
        }
        for event in page.events {
            told.push(entry(event)?);
        }
        match page.next {
            Some(next) => after = format!("&after={next}"),
            None => return Ok(told),
        }
    }
}

fn entry(event: HistoryEvent) -> Result<Entry, String> {
    let id: EventId = event.id.parse().map_err(|error| format!("has an id: {error}"))?;
    let label = label_of(&event.data).ok_or_else(|| format!("has {event:?}"))?;
    Ok(Entry { place: Place::from(&id), channels: event.channels, label })
}
