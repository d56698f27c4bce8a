//! Reader of a channel's history, page by page.

use std::net::SocketAddr;

use tidings_protocol::body::{GapNotice, HistoryEvent, HistoryPage};

use crate::http;

/// Events, gaps and the error of one channel's history.
pub(crate) struct ChannelHistory {
    /// Oldest first.
    pub(crate) events: Vec<HistoryEvent>,
    pub(crate) gaps: Vec<GapNotice>,
    /// The response that ended the reading early.
    pub(crate) error: Option<String>,
}

/// Reads a channel's history, with `page_events` events on a page.
pub(crate) async fn read(address: SocketAddr, channel: &str, page_events: usize) -> ChannelHistory {
    let mut history = ChannelHistory { events: Vec::new(), gaps: Vec::new(), error: None };
    let mut after = String::new();
    loop {
        let path = format!("/api/v1/channels/{channel}/events?limit={page_events}{after}");
        let page = match read_page(address, &path).await {
            Ok(page) => page,
            Err(text) => {
                history.error = Some(format!("GET {path} returned {text}"));
                return history;
            }
        };
        let is_empty = page.events.is_empty();
        history.events.extend(page.events);
        history.gaps.extend(page.gap);
        match page.next {
            Some(next) if is_empty => {
                history.error = Some(format!("GET {path} returned no event and next {next}"));
                return history;
            }
            Some(next) => after = format!("&after={next}"),
            None => return history,
        }
    }
}

async fn read_page(address: SocketAddr, path: &str) -> Result<HistoryPage, String> {
    match http::get(address, path).await {
        Ok((200, body)) => serde_json::from_slice(&body).map_err(|error| error.to_string()),
        Ok((status, body)) => Err(format!("{status}: {}", String::from_utf8_lossy(&body))),
        Err(error) => Err(error.to_string()),
    }
}
