//! Reports of one loss by several nodes.

use tidings_log::{Entry, TransientEvent, testing::TestWorld};
use tokio::sync::watch;

use super::{super::replicator::losses::LossDetector, *};
use crate::{broker::PendingEvent, config::LogSettings, metrics::tests::metrics};

struct IgnoredSink;

impl DeliverySink for IgnoredSink {
    fn on_appended(&self, _entries: &[Arc<Entry>]) {}

    fn deliver_transient(&self, _channels: &[ChannelName], _unstored: &TransientEvent) -> usize {
        0
    }

    fn wake(&self, _channels: &[ChannelName]) {}

    fn wake_all(&self) {}

    fn take_interest_changes(&self) -> crate::broker::InterestChange {
        crate::broker::InterestChange::All(Vec::new())
    }

    fn interest(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }
}

/// A node that has reconciled.
pub(super) async fn node(redis: &RedisServer) -> Replicator {
    node_in(redis, TestWorld::new(1)).await
}

/// A node with a clock of its own.
pub(super) async fn node_in(redis: &RedisServer, environment: Arc<TestWorld>) -> Replicator {
    let replicator = replicator(redis_log(redis), environment);
    replicator.reconcile().await.unwrap();
    replicator
}

/// A node that has not reconciled yet.
pub(super) fn replicator(redis_log: RedisLog, environment: Arc<TestWorld>) -> Replicator {
    let log = Log::replica(&LogSettings::default(), None, environment).unwrap();
    let (redis_log, sync_state) = (Arc::new(redis_log), Arc::new(SyncState::new()));
    let table =
        crate::broker::redis::shared_table::SharedTable::new(redis_log.clone(), "table", rand::random);
    Replicator {
        redis_log,
        log: Arc::new(log),
        sync_state: sync_state.clone(),
        sink: Arc::new(IgnoredSink),
        metrics: metrics(),
        random: rand::random,
        shared: Arc::new(TableReplica::new(table, sync_state)),
    }
}

pub(super) async fn append(node: &Replicator, text: &str, tag: u32) {
    let head = node.redis_log.head().await.unwrap();
    let epoch = head.newest().unwrap().row.epoch();
    let witness = LastSeen { epoch, offset: head.offset, tag: head.tag };
    let mut event = event(text, tag);
    event.entry.published_at = node.log.now();
    node.redis_log.append(&[publish([event])], witness).await.unwrap();
}

pub(super) async fn reconcile_all(nodes: impl IntoIterator<Item = &Replicator>) {
    for node in nodes {
        node.reconcile().await.unwrap();
    }
}

/// Nodes of which each has seen the events up to the one that it appended.
async fn nodes_with_events(count: usize) -> (RedisServer, Vec<Replicator>) {
    let (redis, mut nodes) = (RedisServer::start(), Vec::new());
    for _ in 0..count {
        nodes.push(node(&redis).await);
    }
    for (tag, one) in (1..).zip(&nodes) {
        append(one, "text", tag).await;
        one.reconcile().await.unwrap();
    }
    (redis, nodes)
}

pub(super) async fn losses(node: &Replicator) -> Vec<LostChannels> {
    node.redis_log.head().await.unwrap().epochs.into_iter().map(|it| it.row.lost).collect()
}

fn news() -> LostChannels {
    LostChannels::Channels(vec!["news".into()])
}

#[tokio::test]
async fn loss_of_everything_is_told_once_however_far_the_nodes_were() {
    let (redis, nodes) = nodes_with_events(3).await;
    redis.execute("FLUSHALL");
    reconcile_all(&nodes).await;
    assert_eq!(losses(&nodes[0]).await, [LostChannels::All]);
    // Later events are no part of the loss.
    append(&nodes[0], "new", 9).await;
    for one in &nodes {
        one.reconcile().await.unwrap();
        assert_eq!((one.log.head().offset, one.sync_state.last_seen().offset), (1, 1));
    }
    assert_eq!(losses(&nodes[0]).await, [LostChannels::All]);
}

#[tokio::test]
async fn channels_of_a_loss_are_named_by_the_first_who_knows() {
    let (redis, nodes) = nodes_with_events(2).await;
    // Redis is now like a replica that never had the events.
    redis.execute("DEL {test}:log");
    redis.execute("HSET {test}:meta head 0 tag 00000000");
    reconcile_all(&nodes).await;
    assert_eq!(losses(&nodes[0]).await, [LostChannels::None, news()]);
}

#[tokio::test]
async fn old_loss_of_everything_hides_no_loss_of_an_epoch_that_redis_no_longer_has() {
    let (redis, nodes) = nodes_with_events(2).await;
    redis.execute("FLUSHALL");
    reconcile_all(&nodes).await;
    append(&nodes[0], "kept", 3).await;
    redis.execute("SAVE");
    // The primary gets an epoch that its disconnected replica never gets.
    redis.execute("DEBUG CHANGE-REPL-ID");
    for (tag, one) in (4..).zip(&nodes) {
        one.reconcile().await.unwrap();
        append(one, "acknowledged", tag).await;
    }
    reconcile_all(&nodes).await;
    let lost = nodes[0].sync_state.seen();
    // Redis is now like the promoted replica.
    redis.execute("DEBUG RELOAD NOSAVE");
    for one in &nodes {
        one.reconcile().await.unwrap();
        assert_eq!(one.log.head().offset, 1);
    }
    let rows = nodes[0].redis_log.head().await.unwrap().epochs;
    let told: Vec<_> = rows.iter().filter(|row| row.of == Some((lost.epoch, lost.offset))).collect();
    assert_eq!(
        told.iter().map(|row| (row.row.begins_after, &row.row.lost)).collect::<Vec<_>>(),
        [(1, &LostChannels::All)]
    );
    assert_eq!(rows.iter().filter(|row| row.row.lost == LostChannels::All).count(), 2, "{rows:?}");
}

#[tokio::test]
async fn loss_of_everything_in_a_later_epoch_hides_no_loss_of_an_earlier_one() {
    let redis = RedisServer::start();
    let one = node(&redis).await;
    append(&one, "kept", 1).await;
    one.reconcile().await.unwrap();
    let first = one.sync_state.seen().epoch;
    // Another primary took over, and a node there reported its own loss.
    let head = one.redis_log.head().await.unwrap();
    let new = |lost, epoch| NewEpoch { lost, replid: head.replid.clone(), ..new_epoch(Epoch(epoch)) };
    one.redis_log.begin(HeadOf(first), new(LostChannels::None, 71), None).await.unwrap();
    one.redis_log.begin(HeadOf(Epoch(71)), new(LostChannels::All, 72), Some((Epoch(70), 1))).await.unwrap();
    // The old primary, which this node still reached, acknowledged another event.
    one.sync_state.observe(LastSeen { epoch: first, offset: 2, tag: Tag(9) });
    one.reconcile().await.unwrap();
    let rows = one.redis_log.head().await.unwrap().epochs;
    assert_eq!(rows.last().unwrap().of, Some((first, 2)), "{rows:?}");
    assert_ne!(rows.last().unwrap().row.lost, LostChannels::None);
}

#[tokio::test]
async fn late_answer_of_another_past_costs_nothing_that_is_there_and_names_what_is_not() {
    let redis = RedisServer::start();
    let one = node(&redis).await;
    let first = one.redis_log.head().await.unwrap().newest().unwrap().row.epoch();
    append(&one, "kept", 1).await;
    let head = one.redis_log.head().await.unwrap();
    one.redis_log
        .begin(HeadOf(first), NewEpoch { replid: head.replid, ..new_epoch(EPOCH) }, None)
        .await
        .unwrap();
    append(&one, "kept, too", 2).await;
    append(&one, "and this", 3).await;
    one.reconcile().await.unwrap();
    // Another primary had accepted it before this one took over.
    let late = LastSeen { epoch: first, offset: 2, tag: Tag(9) };
    let head = one.redis_log.head().await.unwrap();
    assert_eq!(
        LossDetector { log: &one.log, redis_log: &one.redis_log }.drop_lost(late, &head).await,
        Ok(LostChannels::All)
    );
    assert_eq!(one.log.head().offset, 3);
}

#[tokio::test]
async fn entries_that_follow_others_than_those_that_are_here_are_not_placed() {
    let redis = RedisServer::start();
    let one = node(&redis).await;
    for tag in [1, 2] {
        append(&one, "text", tag).await;
    }
    one.reconcile().await.unwrap();
    // The same server and connections, with another history: a node without knowledge of the loss continued.
    redis.execute("DEL {test}:log");
    redis.execute("HSET {test}:meta head 0 tag 00000000");
    for tag in [1, 22, 23] {
        append(&one, "other", tag).await;
    }
    one.apply(one.redis_log.range(3, 10).await.unwrap()).await.unwrap();
    assert_eq!([1, 2, 3].map(|offset| one.log.tag_at(offset)), [1, 22, 23].map(Tag));
    assert_eq!(losses(&one).await, [LostChannels::None, news()]);
}

#[tokio::test]
async fn node_that_answered_a_repeat_knows_of_the_event() {
    let redis = RedisServer::start();
    let nodes = [node(&redis).await, node(&redis).await];
    for one in &nodes {
        let (sync_state, metrics) = (one.sync_state.clone(), one.metrics.clone());
        let deadline = Duration::from_secs(20);
        let (broker, appender) =
            appender::appender(one.redis_log.clone(), sync_state, metrics, deadline, rand::random);
        let item = PendingEvent { entry: keyed("once", 1, "ann", "k").entry, is_stored: true };
        tokio::select! {
            answer = broker.append(vec![item]) => drop(answer.unwrap()),
            () = appender.run() => unreachable!("the broker is there"),
        }
        assert_eq!(one.sync_state.last_seen().offset, 1);
    }
}
