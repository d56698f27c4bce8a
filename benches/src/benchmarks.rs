//! Benchmarks, one module each.

pub(crate) mod fanout;
pub(crate) mod fastapi;
mod full_hub;
pub(crate) mod growth;
pub(crate) mod memory;
pub(crate) mod publish;
pub(crate) mod redis;
pub(crate) mod restart;
pub(crate) mod resume;
pub(crate) mod retention;
mod server_rounds;
pub(crate) mod slow_consumers;
pub(crate) mod syscalls;
