//! Clients of a test's own Redis.

use std::{sync::Arc, time::Duration};

use tidings_sync::Histogram;
use tidings_testkit::RedisServer;

use crate::{ConnectionPool, Connector, RedisEndpoint, RedisUrl, TlsFiles};

/// Time limit of a call that no test waits for.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) fn connector(url: &str, files: &TlsFiles, deadline: Duration) -> Arc<Connector> {
    let endpoint = RedisEndpoint::read(&RedisUrl::new(url), files).unwrap();
    Arc::new(Connector::new(endpoint, "key", deadline))
}

/// Pool of connections to a URL.
pub(crate) fn pool_at(url: &str, files: &TlsFiles) -> ConnectionPool {
    ConnectionPool::new(connector(url, files, DEADLINE), Histogram::default())
}

pub(crate) fn pool(redis: &RedisServer) -> ConnectionPool {
    pool_at(&redis.url(), &TlsFiles::default())
}
