//! A Redis that several nodes share: the log in a stream, appended to by one script, followed by each node.
//!
//! Nothing here runs by itself: each future belongs to whoever awaits it, and a connection breaks with the future that was
//! using it. A connection that failed is never used again; the next use opens another.

mod append;
mod connection;
mod ears;
mod epochs;
mod fault;
mod link;
mod record;
mod script;
mod server;
mod tail;
mod wire;

pub(crate) use self::{
    append::{Append, AppendError, Appended, NewEvent, Outcome, Refused, Witness},
    ears::{Ears, Heard},
    epochs::{Begun, EpochRow, Head, Loss, NewEpoch},
    fault::Fault,
    link::{Link, Options, Trimmed},
    record::Stored,
    tail::Tail,
};

/// The names of the hub's keys: the prefix in braces puts them all into one slot of a cluster.
#[derive(Debug, Clone)]
struct Keys {
    log: String,
    meta: String,
    epochs: String,
    live: String,
    prefix: String,
}

impl Keys {
    fn new(prefix: &str) -> Self {
        Self {
            log: format!("{{{prefix}}}:log"),
            meta: format!("{{{prefix}}}:meta"),
            epochs: format!("{{{prefix}}}:epochs"),
            live: format!("{{{prefix}}}:live"),
            prefix: prefix.to_owned(),
        }
    }

    /// Where the answer to an idempotency key is kept. A colon of the publisher's is written otherwise: no two pairs share
    /// a name.
    fn idempotency(&self, publisher: &str, key: &str) -> String {
        let publisher = publisher.replace('%', "%25").replace(':', "%3A");
        format!("{{{}}}:key:{publisher}:{key}", self.prefix)
    }

    /// A key of small state that is no part of the log.
    fn state(&self, key: &str) -> String {
        format!("{{{}}}:state:{key}", self.prefix)
    }
}

#[cfg(test)]
mod tests;
