//! Shards: threads that own the sockets of plain HTTP/1.1 connections.
//!
//! Each shard has one event queue, and one slot of a slab for each connection. It passes publishes and stream requests to the
//! routes, and serves the streams without a task, a body or a buffer per stream. It forwards all other requests to hyper.

mod chunk_writer;
mod context;
mod disk_readers;
mod event_loop;
mod forward;
mod handoff;
mod mailbox;
mod pacing;
mod request_parser;
mod request_phase;
mod response;
mod slots;
mod stream_phase;
mod timer_wheel;

pub(crate) use self::disk_readers::DiskReaders;
pub(crate) use self::event_loop::Shard;
pub(crate) use self::forward::{ForwardToHyper, ForwardedConnection};
pub(crate) use self::handoff::StreamHandoff;
pub(crate) use self::mailbox::Shards;
