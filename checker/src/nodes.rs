//! Phases with node faults: three nodes over one Redis with a replica, and one node whose directory is damaged.

mod clients;
mod compare;
mod directory_phase;
mod history;
mod node_faults;
mod node_history;
mod publisher;
mod reader;
mod redis_calls;
mod redis_faults;
mod redis_log;
mod redis_phase;

pub(crate) use directory_phase::{DirectoryFault, DirectoryPhase};
pub(crate) use node_faults::ExtraFault;
pub(crate) use redis_phase::RedisPhase;
