//! The frames that the hub writes of its own: the first block, positions, gaps and ends.

use std::time::Duration;

use tidings_protocol::{
    EventId,
    body::{EndNotice, GapNotice, OpenNotice},
    sse,
};

use super::{PositionStyle, seat::ConnectionId};

/// What the first block says.
pub(super) struct Opening<'a> {
    pub(super) retry: Duration,
    /// None where a gap comes first: the gap brings it.
    pub(super) position: Option<&'a EventId>,
    pub(super) style: PositionStyle,
    pub(super) hello: Option<(ConnectionId, Vec<String>)>,
}

pub(super) fn opening(opening: &Opening<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    sse::write_retry(&mut out, opening.retry);
    sse::write_comment(&mut out, "tidings");
    if let Some((connection_id, channels)) = &opening.hello {
        let notice = OpenNotice {
            connection_id: connection_id.to_string(),
            channels: channels.clone(),
            position: opening.position.map(EventId::to_string),
        };
        write_json_event(&mut out, "tidings.open", &notice);
    } else if opening.style == PositionStyle::Event && opening.position.is_some() {
        sse::write_event_lines(&mut out, Some("tidings.position"), "");
    }
    if let Some(position) = opening.position.filter(|_| opening.style != PositionStyle::None) {
        sse::write_id_line(&mut out, position);
    }
    sse::write_end(&mut out);
    out
}

pub(super) fn keep_alive(position: Option<&EventId>, as_event: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    sse::write_comment(&mut out, "keep-alive");
    if let Some(position) = position {
        if as_event {
            sse::write_event_lines(&mut out, Some("tidings.position"), "");
        }
        sse::write_id_line(&mut out, position);
    }
    sse::write_end(&mut out);
    out
}

pub(super) fn gap(notice: &GapNotice, position: &EventId) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    write_json_event(&mut out, "tidings.gap", notice);
    sse::write_id_line(&mut out, position);
    sse::write_end(&mut out);
    out
}

/// The last frame. Its id tells a client without positions where to go on, and some clients forget theirs at an event without one.
pub(super) fn end(notice: &EndNotice, retry: Option<Duration>, position: Option<&EventId>) -> Vec<u8> {
    let mut out = Vec::with_capacity(160);
    if let Some(retry) = retry {
        sse::write_retry(&mut out, retry);
    }
    write_json_event(&mut out, "tidings.end", notice);
    if let Some(position) = position {
        sse::write_id_line(&mut out, position);
    }
    sse::write_end(&mut out);
    out
}

fn write_json_event(out: &mut Vec<u8>, name: &str, notice: &impl serde::Serialize) {
    let json = serde_json::to_string(notice).expect("notices are plain data");
    sse::write_event_lines(out, Some(name), &json);
}
