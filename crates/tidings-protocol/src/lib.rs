//! The wire format of Tidings: ids, names, the SSE codec, JSON bodies and problem codes. No I/O.
//!
//! Text from outside is parsed once into these types. A value of such a type needs no second check.
//!
//! ```
//! use tidings_protocol::sse::{self, Parser, StreamItem};
//! use tidings_protocol::{Epoch, EventId, Tag};
//!
//! let id = EventId::new(Epoch(7), 42, Tag(0xbeef));
//! let mut frame = Vec::new();
//! sse::write_event_lines(&mut frame, Some("created"), "first line\nsecond line");
//! sse::write_id_line(&mut frame, &id);
//! sse::write_end(&mut frame);
//!
//! let mut events = Vec::new();
//! let mut parser = Parser::new();
//! parser.feed(&frame, &mut |item| {
//!     if let StreamItem::Event(event) = item {
//!         events.push(event);
//!     }
//! })?;
//! assert_eq!(events[0].name, "created");
//! assert_eq!(events[0].data, "first line\nsecond line");
//! assert_eq!(parser.last_event_id(), "0000000000000007-42-0000beef");
//! assert_eq!(parser.last_event_id().parse(), Ok(id));
//! # Ok::<(), sse::EventTooLarge>(())
//! ```

#![warn(missing_debug_implementations)]
// No text from outside may end a thread.
#![deny(clippy::expect_used)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod channel;
mod code;
mod event_name;
mod id;
mod pattern;
mod priority;
mod problem;
mod quote;
mod secret;
mod text;
mod user;
mod words;

pub mod body;
pub mod sse;

pub use channel::{CHANNEL_BYTES_MAX, ChannelName, ChannelNameError};
pub use code::Code;
pub use event_name::{EventName, EventNameError};
pub use id::{Epoch, EventId, EventIdError, Skip, Tag};
pub use pattern::{Pattern, Subscription};
pub use priority::{Priority, PriorityError};
pub use problem::Problem;
pub use secret::Secret;
pub use user::user_segment;
