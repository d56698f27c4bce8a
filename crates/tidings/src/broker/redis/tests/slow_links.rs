//! Connections over which a large answer does not arrive.

use tidings_log::testing::TestWorld;
use tidings_testkit::TcpProxy;

use super::{losses::replicator, *};

/// Bytes of one connection: less than five events.
const CONNECTION_BYTES: u64 = 1 << 20;
const EVENT_BYTES: usize = 256 << 10;
const EVENTS: u32 = 40;
/// Attempts, each of which brings at least one event, except the first few.
const ATTEMPTS_MAX: usize = 2 * EVENTS as usize + 20;

/// A log of large events.
async fn large_log(redis: &RedisServer) -> RedisLog {
    let redis_log = begun(redis).await;
    let now = redis_log.head().await.unwrap().now.unwrap();
    let text = "x".repeat(EVENT_BYTES);
    for first in (1..=EVENTS).step_by(8) {
        let events = (first..first + 8).map(|tag| {
            let mut event = event(&text, tag);
            event.entry.published_at = now;
            event
        });
        redis_log.append(&[publish(events.collect::<Vec<_>>())], NOTHING_SEEN).await.unwrap();
    }
    redis_log
}

/// A proxy that closes each connection after a part of the log, and a client behind it.
fn slow_link(redis: &RedisServer) -> (TcpProxy, RedisLog) {
    let proxy = TcpProxy::start_limited(redis.address(), CONNECTION_BYTES);
    let redis_log = redis_log_at(redis, &proxy.redis_url());
    (proxy, redis_log)
}

#[tokio::test]
async fn node_reads_a_log_of_which_no_connection_brings_a_large_part() {
    let redis = RedisServer::start();
    large_log(&redis).await;
    let (_proxy, redis_log) = slow_link(&redis);
    let node = replicator(redis_log, TestWorld::new(1));
    let mut attempts = 0;
    while node.reconcile().await.is_err() {
        attempts += 1;
        assert!(attempts < ATTEMPTS_MAX, "only {} events are here", node.log.head().offset);
        node.redis_log.drop_idle();
    }
    assert_eq!((node.log.head().offset, node.log.head().tag), (u64::from(EVENTS), Tag(EVENTS)));
}

#[tokio::test]
async fn tail_goes_on_where_no_connection_brings_a_large_answer() {
    let redis = RedisServer::start();
    large_log(&redis).await;
    let (_proxy, redis_log) = slow_link(&redis);
    let (mut after, mut attempts) = (0, 0);
    let mut reader = redis_log.stream_reader();
    while after < u64::from(EVENTS) {
        match reader.next(after, Duration::from_secs(60)).await {
            Ok(stored) => after = stored.last().unwrap().offset,
            // As the replicator does.
            Err(_) => reader = redis_log.stream_reader(),
        }
        attempts += 1;
        assert!(attempts < ATTEMPTS_MAX, "only {after} events came");
    }
}

#[tokio::test]
async fn table_of_which_no_connection_brings_all_is_read() {
    const ROWS: usize = 10_000;
    let redis = RedisServer::start();
    let value = "x".repeat(300);
    let rows: Vec<_> = (0..ROWS).map(|number| new_row(&number.to_string(), &value)).collect();
    let direct = people(redis_log(&redis));
    direct.put_if(&rows, 1).await.unwrap();
    let (_proxy, redis_log) = slow_link(&redis);
    let (version, read) = people(redis_log).all().await.unwrap();
    assert_eq!((version, read.len()), (direct.all().await.unwrap().0, ROWS));
}
