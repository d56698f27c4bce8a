//! Load on a server of Server-Sent Events, and its measurement: many streams and a few publishers on one thread.
//!
//! [`ClientFleet`] holds the sockets. Its caller builds every request, so the fleet knows no routes. It reads
//! HTTP/1.1 ([`ResponseParser`]) and SSE ([`SseScanner`]). Every event carries a [`Stamp`]; a [`SequenceTracker`]
//! finds events that were lost, repeated or out of order. [`ProcessTree`] reads CPU time and memory of the server.

#![allow(missing_docs, reason = "an internal crate documents what its names do not say")]

mod client_fleet;
mod process;
mod response;
mod scan;
mod sequences;
mod socket;
mod stamp;

pub use client_fleet::{
    ClientFleet, FleetEvent, FleetPublisher, FleetStream, ReadPace, RequestFailure, histogram,
};
pub use process::{ProcessTree, listeners, machine_cpu, own_cpu};
pub use response::{MalformedResponse, ResponseHead, ResponseParser};
pub use scan::{ScannedItem, SseScanner};
pub use sequences::{DeliveryCounts, ProducerCursor, SequenceTracker};
pub use stamp::{Stamp, StampCodec};
