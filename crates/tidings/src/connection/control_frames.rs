//! Frames that the hub writes itself: opening, positions, gaps and ends.
//!
//! A blank line only ends an event: client libraries pass an empty message to their application at any other blank line.
//! `retry:` and comments therefore have no blank line after them; the HTML Standard (9.2.6) reads them line by line.

use std::time::Duration;

use tidings_protocol::body::{EndNotice, GapNotice, OpenNotice};
use tidings_protocol::{EventId, sse};

use super::options::PositionStyle;

/// Contents of the first frames of a stream.
pub(super) struct OpenFrames<'a> {
    pub(super) retry: Duration,
    /// `None` if a gap follows: the gap has the position.
    pub(super) position: Option<&'a EventId>,
    pub(super) style: PositionStyle,
    pub(super) notice: Option<OpenNotice>,
}

pub(super) fn open_frames(opening: &OpenFrames<'_>) -> Vec<u8> {
    let OpenFrames { retry, position, style, notice } = opening;
    let mut out = Vec::with_capacity(256);
    sse::write_retry(&mut out, *retry);
    sse::write_comment(&mut out, "tidings");
    if let Some(notice) = notice {
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

/// Returns the comment of a silent stream, and the position if there is one.
///
/// Without a position the comment is always written: an empty chunk would end the body.
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

/// Returns the last frame.
///
/// Its id is the resume point of a client without positions. Some clients forget their last id at an event without one.
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
