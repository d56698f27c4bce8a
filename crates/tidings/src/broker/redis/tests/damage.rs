//! A Redis that lost some keys of the log and kept the others.

use super::losses::{append, losses, node, reconcile_all};
use super::*;

#[tokio::test]
async fn log_that_lacks_a_part_begins_anew_with_a_gap_for_all() {
    let parts = [
        "DEL {test}:epochs",
        "DEL {test}:meta",
        "DEL {test}:epochs {test}:log",
        "DEL {test}:meta {test}:log",
        "DEL {test}:epochs {test}:meta",
        "HDEL {test}:meta head",
        "HDEL {test}:meta tag",
        "HDEL {test}:meta epoch",
        "HDEL {test}:meta replid",
    ];
    for part in parts {
        let redis = RedisServer::start();
        let nodes = [node(&redis).await, node(&redis).await];
        append(&nodes[0], "lost", 1).await;
        reconcile_all(&nodes).await;
        redis.execute(part);
        let late = node(&redis).await;
        for one in nodes.iter().chain([&late]) {
            one.reconcile().await.unwrap();
            assert_eq!(one.log.head().offset, 0, "{part}");
        }
        assert!(losses(&late).await.iter().all(|loss| *loss == LostChannels::All), "{part}");
        append(&late, "new", 2).await;
        for one in nodes.iter().chain([&late]) {
            one.reconcile().await.unwrap();
            assert_eq!((one.log.head().offset, one.log.head().tag), (1, Tag(2)), "{part}");
        }
    }
}

#[tokio::test]
async fn log_without_its_epochs_takes_nothing() {
    let (redis, redis_log) = log_with(&["a"]).await;
    redis.execute("DEL {test}:epochs");
    let refused = append_one(&redis_log, event("b", 2), seen(1, 1)).await;
    assert_eq!(refused, Err(AppendError::Refused(AppendRefusal::OldEpoch { newest: None })));
    // The log does not begin as if it were the first.
    assert_eq!(redis_log.begin(HeadOf(EPOCH), new_epoch(Epoch(8)), None).await, Ok(Other { newest: None }));
}

#[tokio::test]
async fn log_that_is_whole_does_not_begin_anew() {
    let (_redis, redis_log) = log_with(&["a"]).await;
    assert_eq!(redis_log.begin(Remains, new_epoch(Epoch(8)), None).await, Ok(Other { newest: Some(EPOCH) }));
    assert_eq!(texts(&redis_log.range(1, 10).await.unwrap()), ["a"]);
}

#[tokio::test]
async fn retry_of_an_event_that_is_gone_with_its_log_is_stored() {
    let (redis, redis_log) = log_with(&[]).await;
    let retried = |tag| keyed("a", tag, "ann", "k1");
    append_one(&redis_log, retried(11), NOTHING_SEEN).await.unwrap();
    redis.execute("DEL {test}:epochs");
    assert!(matches!(redis_log.begin(Remains, new_epoch(Epoch(8)), None).await, Ok(Now(_))));
    let nothing_seen = LastSeen { epoch: Epoch(8), ..NOTHING_SEEN };
    for (tag, expected) in [(12, stored(1, 12)), (13, repeat(1, 12))] {
        let outcome = append_one(&redis_log, retried(tag), nothing_seen).await;
        assert_eq!(outcome, Ok(appended([expected])));
    }
}

#[tokio::test]
async fn log_whose_entries_are_gone_goes_on_at_its_head() {
    let redis = RedisServer::start();
    let old = node(&redis).await;
    for tag in [1, 2] {
        append(&old, "here", tag).await;
    }
    old.reconcile().await.unwrap();
    redis.execute("DEL {test}:log");
    let late = node(&redis).await;
    for one in [&old, &late] {
        one.reconcile().await.unwrap();
        assert_eq!((one.log.head().offset, one.log.head().tag), (2, Tag(2)));
    }
    assert_eq!(old.log.tag_at(1), Tag(1), "a node that has them keeps them");
    append(&late, "next", 3).await;
    for one in [&old, &late] {
        one.reconcile().await.unwrap();
        assert_eq!((one.log.head().offset, one.log.head().tag), (3, Tag(3)));
    }
    assert_eq!(losses(&old).await, [LostChannels::None]);
}

/// A table with one row, and a replica that has read it.
async fn table(redis: &RedisServer) -> (SharedTable, TableReplica, RedisLog) {
    let table = || people(redis_log(redis));
    let redis_log = begun(redis).await;
    table().put(&row("a", 2_000), 1_000).await.unwrap();
    let replica = TableReplica::new(table(), Arc::new(SyncState::new()));
    assert_eq!(rows_read(&replica, &redis_log).await, Some(1));
    (table(), replica, redis_log)
}

fn row(key: &str, until: u64) -> ConditionalPut {
    ConditionalPut { until: Some(until), ..new_row(key, "x") }
}

/// Number of the rows that the replica reads after a reconciliation; `None` if it reads none again.
async fn rows_read(replica: &TableReplica, redis_log: &RedisLog) -> Option<usize> {
    replica.found(&redis_log.head().await.unwrap().versions);
    match tokio::time::timeout(Duration::from_millis(200), replica.next_change()).await.ok()? {
        TableChange::All(rows) => Some(rows.len()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn rows_that_are_gone_alone_are_missed() {
    let redis = RedisServer::start();
    let (table, replica, redis_log) = table(&redis).await;
    redis.execute("DEL {test}:state:people");
    assert_eq!(rows_read(&replica, &redis_log).await, Some(0));
    assert_eq!(rows_read(&replica, &redis_log).await, None, "it was read already");
    // Rows that nodes write again are there again.
    table.put(&row("a", 2_000), 1_000).await.unwrap();
    assert_eq!(rows_read(&replica, &redis_log).await, Some(1));
}

#[tokio::test]
async fn rows_are_missed_also_where_their_version_went_before_them() {
    let redis = RedisServer::start();
    let (table, replica, redis_log) = table(&redis).await;
    redis.execute("DEL {test}:state");
    table.sweep(1_000).await.unwrap();
    assert_eq!(rows_read(&replica, &redis_log).await, Some(1));
    redis.execute("DEL {test}:state:people");
    assert_eq!(rows_read(&replica, &redis_log).await, Some(0));
}

#[tokio::test]
async fn rows_whose_ends_are_gone_end_all_the_same() {
    let redis = RedisServer::start();
    let (table, ..) = table(&redis).await;
    redis.execute("DEL {test}:state:people:ends");
    table.sweep(1_999).await.unwrap();
    assert_eq!(table.all().await.unwrap().1.len(), 1);
    table.sweep(2_000).await.unwrap();
    assert_eq!(table.all().await.unwrap().1, []);
}
