//! Compares the history that a node tells with the log in Redis.

use std::net::SocketAddr;

use tidings_protocol::EventId;
use tidings_protocol::body::HistoryPage;

use super::ledger::Place;
use super::log::Entry;
use crate::http;
use crate::report::{Fault, FaultKind};

/// Events on a page.
const PAGE_EVENTS: usize = 500;

/// Reads every channel's history from a node, and returns where it is not the log.
pub(super) async fn compare(
    address: SocketAddr,
    node: usize,
    channels: &[String],
    log: &[Entry],
) -> Vec<Fault> {
    let mut faults = Vec::new();
    for channel in channels {
        let expected: Vec<Place> =
            log.iter().filter(|entry| entry.channels.contains(channel)).map(|entry| entry.place).collect();
        let text = match read(address, channel).await {
            Ok(told) if told == expected => continue,
            Ok(told) => {
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

async fn read(address: SocketAddr, channel: &str) -> Result<Vec<Place>, String> {
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
            let id: EventId = event.id.parse().map_err(|error| format!("has an id: {error}"))?;
            told.push(Place::from(&id));
        }
        match page.next {
            Some(next) => after = format!("&after={next}"),
            None => return Ok(told),
        }
    }
}
