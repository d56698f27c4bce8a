//! Processes, connections and readers for tests and tools: a redis-server, a hub process, HTTP/1.1 and SSE as bytes on a socket.
//!
//! A call panics if its process or connection fails: a test without it has failed.

#![allow(clippy::unwrap_used, reason = "a test whose process or connection fails has failed")]
#![allow(missing_docs, reason = "an internal crate documents what its names do not say")]

mod directory;
mod http;
mod hub;
mod parallel;
mod process;
pub mod redis;
mod sse;
mod stub;
mod tcp_proxy;
mod wait;

pub use self::{
    directory::TempDirectory,
    http::{HttpConnection, HttpHead, HttpResponse},
    hub::{HubCommand, HubProcess},
    parallel::in_parallel,
    process::{ChildProcess, read_lines},
    redis::{RedisServer, RedisServerOptions, RespConnection, RespReply},
    sse::{SseReader, numbers, with_position},
    stub::{StubReply, StubRequest, StubServer},
    tcp_proxy::TcpProxy,
    wait::{DEADLINE, eventually, fixed_port, free_port},
};
