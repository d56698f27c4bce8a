//! The frames that the hub writes of its own: the beginning, positions, gaps and ends.
//!
//! A blank line ends an event and nothing else, since client libraries hand their application an empty message at any
//! other. `retry:` and comments therefore stand alone: the HTML Standard (9.2.6) takes them line by line.

use std::time::Duration;

use tidings_protocol::{
    EventId,
    body::{EndNotice, GapNotice, OpenNotice},
    sse,
};

use super::PositionStyle;

/// How a stream begins.
pub(super) struct OpenFrames<'a> {
    pub(super) retry: Duration,
    /// None where a gap comes first: the gap brings it.
    pub(super) position: Option<&'a EventId>,
    pub(super) style: PositionStyle,
    pub(super) hello: Option<OpenNotice>,
}

pub(super) fn open_frames(opening: &OpenFrames<'_>) -> Vec<u8> {
    let OpenFrames { retry, position, style, hello } = opening;
    let mut out = Vec::with_capacity(256);
    sse::write_retry(&mut out, *retry);
    sse::write_comment(&mut out, "tidings");
    if let Some(notice) = hello {
        write_json_event(&mut out, "tidings.open", notice);
        if let Some(position) = position.filter(|_| *style != PositionStyle::None) {
            sse::write_id_line(&mut out, position);
        }
        sse::write_end(&mut out);
    } else if let Some(position) = position {
        write_position(&mut out, position, *style);
    }
    out
}

/// A comment for a stream that was silent, and the position where there is one. Without a position a comment comes in any
/// case, since an empty chunk would end the body.
pub(super) fn keep_alive(is_silent: bool, position: Option<&EventId>, style: PositionStyle) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    if is_silent || position.is_none() {
        sse::write_comment(&mut out, "keep-alive");
    }
    if let Some(position) = position {
        write_position(&mut out, position, style);
    }
    out
}

fn write_position(out: &mut Vec<u8>, position: &EventId, style: PositionStyle) {
    match style {
        PositionStyle::None => return,
        PositionStyle::Event => sse::write_event_lines(out, Some("tidings.position"), ""),
        PositionStyle::Id => {}
    }
    sse::write_id_line(out, position);
    sse::write_end(out);
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
