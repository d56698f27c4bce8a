//! Blocking calls of a redis-server from asynchronous code.

use std::sync::Arc;

use tidings_testkit::{RedisServer, RespReply};

/// Runs calls of a redis-server on a blocking thread. A panic of the calls becomes an error.
pub(super) async fn call_redis<T: Send + 'static>(
    server: &Arc<RedisServer>,
    calls: impl FnOnce(&RedisServer) -> T + Send + 'static,
) -> Result<T, String> {
    let (address, server) = (server.address(), Arc::clone(server));
    let done = tokio::task::spawn_blocking(move || calls(&server)).await;
    done.map_err(|error| format!("redis at {address}: {error}"))
}

/// Sends a command and returns its reply.
///
/// # Panics
/// On an error reply.
pub(super) fn command(server: &RedisServer, words: &[&str]) -> RespReply {
    match server.command(words) {
        RespReply::Error(error) => panic!("{}: {error}", words.join(" ")),
        reply => reply,
    }
}

/// Makes a server the replica of another, also if it is one already, and waits until it has the primary's data.
pub(super) fn follow(replica: &RedisServer, primary: &RedisServer) {
    command(replica, &["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
    replica.wait_for_primary();
}
