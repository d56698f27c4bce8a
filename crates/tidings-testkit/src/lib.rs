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

pub use self::directory::TempDirectory;
pub use self::http::{HttpConnection, HttpHead, HttpResponse};
pub use self::hub::{HubCommand, HubProcess};
pub use self::parallel::in_parallel;
pub use self::process::{ChildProcess, read_lines};
pub use self::redis::{RedisServer, RedisServerOptions, RespConnection, RespReply};
pub use self::sse::{SseReader, numbers, with_position};
pub use self::stub::{StubReply, StubRequest, StubServer};
pub use self::tcp_proxy::TcpProxy;
pub use self::wait::{DEADLINE, eventually, fixed_port, free_port};
