//! Server-Sent Events as bytes: what a stream is written with, and what reads it back.

mod encode;
mod parse;

pub use encode::{write_comment, write_end, write_event_lines, write_id_line, write_retry};
pub use parse::{EventTooLarge, MessageEvent, Parser, StreamItem};

#[cfg(test)]
mod tests;
