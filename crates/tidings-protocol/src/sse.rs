//! The codec of Server-Sent Events: an encoder and a parser.

mod encode;
mod parse;

pub use encode::{write_comment, write_end, write_event_lines, write_id_line, write_retry};
pub use parse::{EventTooLarge, MessageEvent, Parser, StreamItem};

#[cfg(test)]
mod tests;
