//! Nodes whose clocks are wrong.

use std::time::{SystemTime, UNIX_EPOCH};
use tidings_log::testing::{START, TestWorld};

use super::losses::{append, node_in};
use super::*;

const HOUR: u64 = 3_600_000;

/// Clock with a constant error.
fn clock(ahead_ms: i64) -> Arc<TestWorld> {
    let environment = TestWorld::new(1);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    environment.advance(now.saturating_add_signed(ahead_ms).wrapping_sub(START));
    environment
}

fn trimmer(node: &Replicator) -> Trimmer {
    Trimmer {
        redis_log: node.redis_log.clone(),
        log: node.log.clone(),
        sync_state: node.sync_state.clone(),
        retention: (24 * HOUR, 1 << 30),
        shared: node.shared.clone(),
    }
}

#[tokio::test]
async fn node_with_a_wrong_clock_trims_nothing_by_age() {
    let redis = RedisServer::options().arguments(["--stream-node-max-entries", "1"]).start();
    for hours in [25, -25] {
        let ahead = node_in(&redis, clock(hours * HOUR as i64)).await;
        let right = node_in(&redis, clock(0)).await;
        let before = right.redis_log.head().await.unwrap().offset;
        for tag in 1..=3 {
            append(&right, "text", tag).await;
        }
        for node in [&ahead, &right] {
            node.reconcile().await.unwrap();
            trimmer(node).trim().await.unwrap();
            node.log.trim();
            // The node's copy of the log uses that clock too.
            assert_eq!(node.log.tag_at(before + 1), Tag(1), "{hours} h");
        }
        assert_eq!(right.redis_log.range(before + 1, 10).await.unwrap().len(), 3, "{hours} h");
        assert_eq!((ahead.sync_state.is_in_time(), right.sync_state.is_in_time()), (false, true));
    }
}

#[tokio::test]
async fn node_stamps_and_expires_by_the_clock_of_redis() {
    let redis = RedisServer::start();
    let (behind, right) = (node_in(&redis, clock(-120_000)).await, node_in(&redis, clock(0)).await);
    assert!(behind.log.now().abs_diff(right.log.now()) < 30_000);
    // Clocks that differ by less than the duration of an answer are not adjusted: time does not jump.
    let little = node_in(&redis, clock(0)).await;
    let ours = little.log.own_now();
    little.log.go_by_clock(400);
    assert!(little.log.now().abs_diff(ours) <= 500);
}

#[tokio::test]
async fn clock_that_was_set_right_is_gone_by_again() {
    let redis = RedisServer::options().arguments(["--stream-node-max-entries", "1"]).start();
    let environment = clock(-25 * HOUR as i64);
    let one = node_in(&redis, environment.clone()).await;
    assert!(!one.sync_state.is_in_time());
    environment.advance(25 * HOUR);
    one.reconcile().await.unwrap();
    assert!(one.sync_state.is_in_time());
}
