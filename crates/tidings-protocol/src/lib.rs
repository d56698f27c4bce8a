//! The wire format of Tidings: ids, names, the SSE codec, JSON bodies and problem codes. No I/O.
#![doc = include_str!("../README.md")]
#![warn(missing_debug_implementations)]
// No text from outside may end a thread.
#![deny(clippy::expect_used)]

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
pub use words::UnknownWord;
