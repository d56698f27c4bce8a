//! Reads a channel's history page by page, and checks it on the way.

use std::net::SocketAddr;

use tidings_protocol::EventId;
use tidings_protocol::body::HistoryPage;

use crate::http;
use crate::report::{Fault, FaultKind};
use crate::truth::{Located, Truth, label_of};

/// Events on a page.
const PAGE_EVENTS: usize = 200;

/// Reads all of a channel's history.
pub(crate) async fn read(address: SocketAddr, truth: &Truth, channel: usize) -> (Vec<Located>, Vec<Fault>) {
    let name = &truth.channels[channel];
    let (mut told, mut faults) = (Vec::new(), Vec::new());
    let mut after = String::new();
    loop {
        let path = format!("/api/v1/channels/{name}/events?limit={PAGE_EVENTS}{after}");
        let page = match http::get(address, &path).await {
            Ok((200, body)) => {
                serde_json::from_slice::<HistoryPage>(&body).map_err(|error| error.to_string())
            }
            Ok((status, body)) => Err(format!("{status}: {}", String::from_utf8_lossy(&body))),
            Err(error) => Err(error.to_string()),
        };
        let page = match page {
            Ok(page) => page,
            Err(text) => {
                let text = format!("history of {name}: GET {path} gave {text}");
                faults.push(Fault::new(FaultKind::BrokenProtocol, text));
                return (told, faults);
            }
        };
        let count = told.len();
        faults.extend(take(&page, truth, name, &mut told));
        match page.next {
            Some(next) if told.len() > count => after = format!("&after={next}"),
            Some(next) => {
                let text = format!("history of {name}: {path} gave no event and next {next}");
                faults.push(Fault::new(FaultKind::BrokenProtocol, text));
                return (told, faults);
            }
            None => return (told, faults),
        }
    }
}

fn take(page: &HistoryPage, truth: &Truth, name: &str, told: &mut Vec<Located>) -> Vec<Fault> {
    let mut faults = Vec::new();
    if let Some(gap) = &page.gap {
        faults.push(Fault::new(
            FaultKind::SpuriousGap,
            format!("history of {name}: {gap:?}; nothing is published"),
        ));
    }
    for event in &page.events {
        let id = event.id.parse::<EventId>().ok().filter(|id| id.offset == event.offset);
        let label = label_of(&event.data).filter(|label| truth.knows(*label));
        let (Some(id), Some(label)) = (id, label) else {
            faults.push(Fault::new(FaultKind::WrongContent, format!("history of {name}: {event:?}")));
            continue;
        };
        if let Err(text) = truth.check_content(label, event.event.as_deref(), &event.data) {
            faults.push(Fault::new(FaultKind::WrongContent, format!("history of {name}: {text}")));
        }
        told.push((label, truth.place(&id)));
    }
    faults
}
