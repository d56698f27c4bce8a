//! Load on any server of Server-Sent Events, and what came of it: many streams and a few publishers on one thread.
//!
//! [`Swarm`] holds the sockets. What it sends is made by its caller, so it knows no routes; what it reads is HTTP/1.1
//! ([`Answer`]) and SSE ([`Scanner`]). Every event carries a [`Stamp`], by which a [`Ledger`] tells what was lost,
//! repeated or out of order. A [`Process`] is what the kernel knows of the server.

mod answer;
mod ledger;
mod process;
mod scan;
mod socket;
mod stamp;
mod swarm;

pub use answer::{Answer, Head, Malformed};
pub use ledger::{Lane, Ledger, Tally};
pub use process::{Process, listeners, machine_cpu, own_cpu};
pub use scan::{Item, Scanner};
pub use socket::Target;
pub use stamp::{Marker, Stamp};
pub use swarm::{Failure, Notice, Reading, Swarm};
