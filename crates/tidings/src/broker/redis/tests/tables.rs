//! Shared tables, and their replicas.

use super::*;

/// Current time of the tests, in milliseconds since 1970.
const NOW: u64 = 1_000_000;

fn table(redis: &RedisServer) -> SharedTable {
    people(redis_log(redis))
}

fn put(key: &str, value: &str, expected: RowVersion) -> ConditionalPut {
    ConditionalPut { expected, ..new_row(key, value) }
}

async fn rows(table: &SharedTable) -> Vec<(String, String)> {
    let (_, rows) = table.all().await.unwrap();
    let mut rows: Vec<_> = rows.into_iter().map(|row| (row.key, row.value)).collect();
    rows.sort();
    rows
}

async fn row(table: &SharedTable, key: &str) -> TableRow {
    let (_, rows) = table.all().await.unwrap();
    rows.into_iter().find(|row| row.key == key).unwrap()
}

/// A replica, with the parts of the live event receiver and the replicator that feed it.
struct Node {
    redis_log: RedisLog,
    pubsub: PubsubConnection,
    replica: TableReplica,
}

impl Node {
    async fn start(redis: &RedisServer) -> Self {
        let redis_log = begun_or_there(redis).await;
        let mut pubsub = redis_log.pubsub(PubsubTarget::Name(b"{test}:changes".to_vec()), 1 << 20);
        while pubsub.next().await != PubsubEvent::Ready {}
        Self { redis_log, pubsub, replica: TableReplica::new(table(redis), Arc::new(SyncState::new())) }
    }

    /// A node that has read the table.
    async fn start_read(redis: &RedisServer) -> Self {
        let node = Self::start(redis).await;
        node.reconcile().await;
        all(node.change().await);
        node
    }

    async fn reconcile(&self) {
        self.replica.found(&self.redis_log.head().await.unwrap().versions);
    }

    /// Receives one message.
    async fn hear(&mut self) {
        loop {
            if let PubsubEvent::Message { payload, .. } = self.pubsub.next().await {
                return self.replica.on_message(&payload);
            }
        }
    }

    /// Change that is there without a further message.
    async fn change(&self) -> Option<TableChange> {
        tokio::time::timeout(Duration::from_millis(200), self.replica.next_change()).await.ok()
    }
}

pub(super) async fn begun_or_there(redis: &RedisServer) -> RedisLog {
    let redis_log = redis_log(redis);
    let _ = redis_log.begin(Nothing, new_epoch(EPOCH), None).await.unwrap();
    redis_log
}

fn all(news: Option<TableChange>) -> Vec<String> {
    let Some(TableChange::All(rows)) = news else { panic!("{news:?}") };
    let mut values: Vec<_> = rows.into_iter().map(|row| row.value).collect();
    values.sort();
    values
}

#[tokio::test]
async fn a_row_is_put_only_where_what_is_there_is_as_expected() {
    let redis = RedisServer::start();
    let table = table(&redis);
    let absent = RowVersion::default();
    let both = [put("a", "one", absent), put("b", "ü\n\"x\"", absent)];
    assert_eq!(table.put_if(&both, NOW).await.unwrap(), [PutOutcome::Done, PutOutcome::Done]);
    let there = row(&table, "a").await;
    let late = table.put_if(&[put("a", "two", absent)], NOW).await.unwrap();
    assert_eq!(late, [PutOutcome::Other(Some(there.clone()))]);
    assert_eq!(table.put_if(&[put("a", "two", there.version)], NOW).await.unwrap(), [PutOutcome::Done]);
    assert!(matches!(
        &table.put_if(&[put("a", "three", there.version)], NOW).await.unwrap()[..],
        [PutOutcome::Other(Some(row))] if row.value == "two"
    ));
    let gone = table.put_if(&[put("c", "x", there.version)], NOW).await.unwrap();
    assert_eq!(gone, [PutOutcome::Other(None)]);
    let expected = [("a".to_owned(), "two".to_owned()), ("b".to_owned(), "ü\n\"x\"".to_owned())];
    assert_eq!(rows(&table).await, expected);
}

#[tokio::test]
async fn of_two_who_put_at_once_one_learns_of_the_other() {
    let redis = RedisServer::start();
    let (one, other) = (table(&redis), table(&redis));
    for number in 0..50 {
        let key = number.to_string();
        let puts = [new_row(&key, "one"), new_row(&key, "other")];
        let (first, second) = tokio::join!(one.put_if(&puts[..1], NOW), other.put_if(&puts[1..], NOW));
        let outcomes = [first.unwrap().remove(0), second.unwrap().remove(0)];
        assert_eq!(outcomes.iter().filter(|it| **it == PutOutcome::Done).count(), 1, "{outcomes:?}");
    }
}

#[tokio::test]
async fn a_row_goes_when_it_is_removed_and_when_its_time_is_over() {
    let redis = RedisServer::start();
    let table = table(&redis);
    let until = |key: &str, until| ConditionalPut { until: Some(until), ..new_row(key, "x") };
    table.put(&until("short", NOW + 10), NOW).await.unwrap();
    table.put(&until("prolonged", NOW + 10), NOW).await.unwrap();
    table.put(&until("prolonged", NOW + 20), NOW).await.unwrap();
    table.put(&new_row("kept", "x"), NOW).await.unwrap();
    table.put(&until("removed", NOW + 10), NOW).await.unwrap();
    table.remove("removed", NOW).await.unwrap();
    assert_eq!(table.remove("never", NOW).await.unwrap(), PutOutcome::Done);
    let (version, _) = table.all().await.unwrap();
    table.sweep(NOW + 9).await.unwrap();
    assert_eq!(rows(&table).await.len(), 3);
    table.sweep(NOW + 10).await.unwrap();
    assert_eq!(rows(&table).await.iter().map(|row| &*row.0).collect::<Vec<_>>(), ["kept", "prolonged"]);
    assert_eq!(table.all().await.unwrap().0, version, "what was over counted for nothing");
    // A write deletes expired rows too.
    table.put(&new_row("next", "x"), NOW + 20).await.unwrap();
    assert_eq!(rows(&table).await.iter().map(|row| &*row.0).collect::<Vec<_>>(), ["kept", "next"]);
    assert_eq!(redis.execute("ZCARD {test}:state:people:ends").integer(), 0);
}

#[tokio::test]
async fn a_table_that_is_full_takes_changes_of_what_it_has_and_no_more() {
    let redis = RedisServer::start();
    let mut table = table(&redis);
    table.rows_max = 2;
    for key in ["a", "b"] {
        assert_eq!(table.put(&new_row(key, "1"), NOW).await.unwrap(), PutOutcome::Done);
    }
    assert_eq!(table.put(&new_row("c", "1"), NOW).await.unwrap(), PutOutcome::Full);
    assert_eq!(table.put(&new_row("a", "2"), NOW).await.unwrap(), PutOutcome::Done);
    assert_eq!(rows(&table).await.len(), 2);
}

#[tokio::test]
async fn replica_gets_each_change_and_reads_no_row_twice() {
    let redis = RedisServer::start();
    let mut node = Node::start(&redis).await;
    assert!(node.replica.health().is_err());
    node.reconcile().await;
    assert!(all(node.change().await).is_empty());
    assert!(node.replica.health().is_err(), "nobody knows yet whether that was taken");
    assert_eq!(node.change().await, None);
    assert_eq!(node.replica.health(), Ok(()));
    let table = table(&redis);
    table.put(&new_row("a", "1"), NOW).await.unwrap();
    node.hear().await;
    assert_eq!(node.change().await, Some(TableChange::Put(row(&table, "a").await)));
    table.remove("a", NOW).await.unwrap();
    node.hear().await;
    assert_eq!(node.change().await, Some(TableChange::Removed("a".into())));
    node.reconcile().await;
    assert_eq!(node.change().await, None);
}

#[tokio::test]
async fn a_view_that_missed_a_change_reads_all_at_the_next_look() {
    let redis = RedisServer::start();
    let mut node = Node::start_read(&redis).await;
    let table = table(&redis);
    let mut requests = node.replica.sync_state.reconcile_requests();
    requests.mark_unchanged();
    table.put(&new_row("a", "missed"), NOW).await.unwrap();
    while !matches!(node.pubsub.next().await, PubsubEvent::Message { .. }) {}
    table.put(&new_row("b", "heard"), NOW).await.unwrap();
    node.hear().await;
    assert_eq!(node.change().await, None, "it follows on something that is not known");
    assert!(requests.has_changed().unwrap(), "a look is asked for at once");
    node.reconcile().await;
    assert_eq!(all(node.change().await), ["heard", "missed"]);
    // A reconciliation finds a change without its message, and the loss of all rows even after as many new writes.
    table.put(&new_row("c", "unheard"), NOW).await.unwrap();
    node.reconcile().await;
    assert_eq!(all(node.change().await), ["heard", "missed", "unheard"]);
    redis.execute("FLUSHALL");
    for key in ["d", "e", "f"] {
        table.put(&new_row(key, "new"), NOW).await.unwrap();
    }
    node.reconcile().await;
    assert_eq!(all(node.change().await), ["new"; 3]);
}

#[tokio::test]
async fn a_view_that_is_told_too_much_at_once_reads_all() {
    let redis = RedisServer::start();
    let mut node = Node::start_read(&redis).await;
    let table = table(&redis);
    for number in 0..=1000 {
        table.put(&new_row(&number.to_string(), "1"), NOW).await.unwrap();
        node.hear().await;
    }
    assert_eq!(node.change().await, None);
    node.reconcile().await;
    assert_eq!(all(node.change().await).len(), 1001);
}

#[tokio::test]
async fn a_view_that_is_not_to_be_trusted_reads_all_though_nothing_has_changed() {
    let redis = RedisServer::start();
    let node = Node::start_read(&redis).await;
    node.replica.mark_stale();
    assert_eq!(node.change().await, None);
    node.reconcile().await;
    assert!(all(node.change().await).is_empty());
}
