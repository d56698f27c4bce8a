//! Several nodes with one log in Redis.

use crate::prelude::*;
use crate::redis_nodes::{
    RedisNodes, SHORT_DEADLINE, TwoNodes, assert_each_gets_a_gap, assert_each_reads, wait_for_replica,
};

const PATH: &str = "/api/v1/events/a";

#[test]
fn event_published_at_one_node_is_read_at_both_with_the_same_id() {
    let nodes = TwoNodes::start(&[]);
    let mut readers = nodes.open_streams(PATH);
    for number in 0..50 {
        let id = nodes.hubs[number % 2].publish("a", format!("{number}"));
        for reader in &mut readers {
            let event = reader.event();
            assert_eq!((event.data, event.last_event_id), (number.to_string(), id.clone()));
        }
    }
}

#[test]
fn client_moves_between_nodes_and_misses_nothing() {
    let nodes = TwoNodes::start(&[]);
    let mut id = nodes.hubs[0].publish("a", "0");
    for number in 1..40 {
        nodes.hubs[number % 2].publish("a", format!("{number}"));
        nodes.hubs[number % 2].publish("b", "another channel");
        let mut reader = nodes.hubs[(number / 2) % 2].resume(PATH, &id);
        assert_eq!(reader.data(), number.to_string());
        id = reader.last_event_id().to_owned();
    }
}

#[test]
fn late_node_has_the_events_published_before_its_start() {
    let nodes = RedisNodes::<1>::start(&[]);
    let [early] = &nodes.hubs;
    let first = early.publish("a", "first");
    for number in 0..3 {
        early.publish_batch((0..400).map(|at| json!({"channels": ["a"], "data": format!("{number} {at}")})));
    }
    let late = nodes.start_node();
    late.wait_until_ready();
    let expected = (0..3).flat_map(|number| (0..400).map(move |at| format!("{number} {at}")));
    assert_eq!(late.resume(PATH, &first).data_of_next(1200), expected.collect::<Vec<_>>());
}

#[test]
fn transient_events_take_few_round_trips_and_follow_their_stored_event() {
    let nodes = TwoNodes::start(&[]);
    let mut readers = nodes.open_streams(PATH);
    let reads = || nodes.redis.info("total_reads_processed").parse::<u64>().unwrap();
    let before = reads();
    // One event in ten is stored. A stream takes at most 64 of the others at once.
    let ids = nodes.hubs[0].publish_batch((0..1000).map(|number| {
        let store = number % 10 == 0;
        let channel = if store || number % 20 == 1 { "a" } else { "b" };
        let data = format!("{} {number}", if store { "stored" } else { "transient" });
        json!({"channels": [channel], "data": data, "store": store})
    }));
    let trips = reads() - before;
    assert!(trips < 200, "redis read {trips} times");
    let is_stored = ids.iter().map(|id| !id.is_empty());
    assert_eq!(is_stored.collect::<Vec<_>>(), (0..1000).map(|number| number % 10 == 0).collect::<Vec<_>>());
    let stored = (0..100).map(|number| format!("stored {}", 10 * number));
    let transient = (0..50).map(|number| format!("transient {}", 20 * number + 1));
    assert_each_reads(&mut readers, &stored.chain(transient).collect::<Vec<_>>());
}

/// Redis has one set of Pub/Sub channels for all databases.
#[test]
fn hubs_in_two_databases_are_independent() {
    let redis = RedisServer::start();
    let settings = [("TIDINGS_REDIS_CAPTURE", "captured.*"), ("TIDINGS_REDIS_MIRROR", "mirrored.*")];
    let hubs = [0, 1].map(|database| {
        let url = format!("{}{database}", redis.url());
        TestHub::with_redis_at(&url, &settings)
    });
    hubs.iter().for_each(|hub| hub.wait_until_ready());
    let channels = redis.command(&["PUBSUB", "CHANNELS", "{tidings}:*"]).list();
    let mut channels: Vec<String> = channels.iter().map(RespReply::text).collect();
    channels.sort();
    assert_eq!(channels, ["{tidings}:changes", "{tidings}:changes:1", "{tidings}:live", "{tidings}:live:1"]);
    let mut readers = hubs.each_ref().map(|hub| hub.open_stream(PATH));
    for (number, hub) in hubs.iter().enumerate() {
        hub.post("/api/v1/events/a?store=false", format!("{number}")).assert_status(200);
        hub.publish("a", format!("stored {number}"));
    }
    for (number, reader) in readers.iter_mut().enumerate() {
        let mut data = reader.data_of_next(2);
        data.sort();
        assert_eq!(data, [number.to_string(), format!("stored {number}")]);
    }
}

#[test]
fn transient_events_reach_both_nodes() {
    let nodes = TwoNodes::start(&[]);
    let mut readers = nodes.open_streams(PATH);
    for number in 0..20 {
        nodes.hubs[0].publish("a", format!("stored {number}"));
        nodes.hubs[0].post("/api/v1/events/a?store=false", format!("transient {number}")).assert_status(200);
    }
    // They arrive over two connections: one may be ahead of the other.
    for reader in &mut readers {
        let (stored, transient): (Vec<_>, Vec<_>) =
            reader.data_of_next(40).into_iter().partition(|text| text.starts_with("stored"));
        assert_eq!(
            stored,
            numbers(0..20).iter().map(|number| format!("stored {number}")).collect::<Vec<_>>()
        );
        assert_eq!(
            transient,
            numbers(0..20).iter().map(|number| format!("transient {number}")).collect::<Vec<_>>()
        );
    }
}

#[test]
fn repeated_publish_at_another_node_gets_the_first_result() {
    let nodes = TwoNodes::start(&[]);
    let publish =
        |hub: &TestHub, text: &str| hub.request("POST", PATH, &[("Idempotency-Key", "k")], text.as_bytes());
    let first = publish(&nodes.hubs[0], "once").assert_status(200).json();
    let again = publish(&nodes.hubs[1], "once").assert_status(200).json();
    assert_eq!(first, again);
    publish(&nodes.hubs[1], "other").assert_problem(409, "idempotency_conflict");
    assert_eq!(nodes.hubs[1].stored("a"), ["once"]);
}

#[test]
fn message_of_another_program_reaches_clients_of_every_node_once() {
    let nodes = TwoNodes::start(&[]);
    let path = "/api/v1/events/project.42";
    let mut readers: Vec<SseReader> = [path; 2].iter().flat_map(|path| nodes.open_streams(path)).collect();
    nodes.wait_for_subscriptions([(1, 0); 2]);
    nodes.message("project.42", r#"{"type":"t","object":{}}"#);
    nodes.hubs[0].publish("project.42", "behind it");
    for reader in &mut readers {
        let mut texts = reader.data_of_next(2);
        texts.sort();
        assert_eq!(texts, ["behind it", r#"{"type":"t","object":{}}"#]);
    }
}

#[test]
fn nodes_receive_neither_unlisted_channels_nor_keyspace_notifications() {
    let nodes = RedisNodes::<1>::start(&[("TIDINGS_REDIS_LISTEN", "open.**")]);
    let [hub] = &nodes.hubs;
    nodes.redis.command(&["CONFIG", "SET", "notify-keyspace-events", "KEA"]);
    let [mut keys, mut open, mut closed] = ["__keyevent@0__:del", "open.a", "closed.a"]
        .map(|channel| hub.open_stream(&format!("/api/v1/events/{channel}")));
    nodes.wait_for_subscriptions([(1, 0)]);
    nodes.message("closed.a", "not heard");
    nodes.message("open.a", "heard");
    nodes.redis.command(&["SET", "key", "value"]);
    nodes.redis.command(&["DEL", "key"]);
    hub.assert_delivers("__keyevent@0__:del", "from the log", &mut keys);
    hub.publish("closed.a", "from the log");
    assert_eq!(open.data(), "heard");
    assert_eq!(closed.data(), "from the log");
}

#[test]
fn streams_survive_an_outage_and_continue_without_a_hole() {
    let nodes = TwoNodes::over(RedisServer::start_durable(), &[SHORT_DEADLINE]);
    let mut readers = nodes.open_streams(PATH);
    nodes.hubs[0].publish("a", "before");
    nodes.redis.kill();
    let refused = nodes.hubs[0].post(PATH, "meanwhile");
    assert_eq!(refused.head.status, 503, "{refused:?}");
    nodes.hubs.iter().for_each(|hub| hub.wait_until_unready(""));
    assert!(nodes.hubs.iter().all(|hub| hub.get("/healthz").head.status == 200));
    nodes.redis.restart();
    nodes.wait_until_ready();
    nodes.hubs[1].publish("a", "after");
    assert_each_reads(&mut readers, &["before", "after"]);
}

#[test]
fn loss_of_all_data_gives_a_gap_and_streams_continue() {
    let nodes = TwoNodes::start(&[]);
    let mut readers = nodes.open_streams(PATH);
    let old = nodes.hubs[0].publish("a", "lost");
    assert_each_reads(&mut readers, &["lost"]);
    nodes.redis.command(&["FLUSHALL"]);
    nodes.hubs[0].publish("a", "new");
    assert_each_gets_a_gap(&mut readers);
    assert_each_reads(&mut readers, &["new"]);
    let mut late = nodes.hubs[1].resume(PATH, &old);
    late.control_event("tidings.gap");
    assert_eq!(late.data(), "new");
}

/// A hub over an address that leads to a Redis first, and to its replica after a failover.
struct ReplicatedRedis {
    primary: RedisServer,
    replica: RedisServer,
    proxy: TcpProxy,
    hub: TestHub,
}

impl ReplicatedRedis {
    fn start() -> Self {
        let primary = RedisServer::start();
        let replica = RedisServer::start_replica_of(&primary);
        let proxy = TcpProxy::start(primary.address());
        let hub = TestHub::with_redis_at(&proxy.redis_url(), &[]);
        hub.wait_until_ready();
        Self { primary, replica, proxy, hub }
    }

    /// Makes the replica a primary of its own, with the data up to now.
    #[track_caller]
    fn split(&self) {
        wait_for_replica(&self.primary, &self.replica);
        self.replica.promote();
    }

    /// Kills the primary, leads the address to the replica, and publishes until the hub accepts it.
    #[track_caller]
    fn fail_over(&self, data: &str) {
        self.primary.kill();
        self.proxy.redirect_to(self.replica.address());
        eventually("publishes are accepted again", || self.hub.post(PATH, data).head.status == 200);
    }

    /// Asserts that a client with this id gets a gap, and then the event.
    #[track_caller]
    fn assert_gap_after(&self, id: &str, data: &str) {
        let mut reader = self.hub.resume(PATH, id);
        reader.control_event("tidings.gap");
        assert_eq!(reader.data(), data);
    }
}

#[test]
fn failover_without_loss_gives_no_gap() {
    let redis = ReplicatedRedis::start();
    let hub = &redis.hub;
    let mut reader = hub.open_stream(PATH);
    let first = hub.publish("a", "first");
    assert_eq!(reader.data(), "first");
    redis.split();
    redis.fail_over("second");
    assert_eq!(reader.data(), "second");
    assert_eq!(hub.resume(PATH, &first).data(), "second");
}

#[test]
fn failover_that_lost_an_event_gives_a_gap_to_clients_with_and_without_it() {
    let redis = ReplicatedRedis::start();
    let hub = &redis.hub;
    let mut reader = hub.open_stream(PATH);
    let mut other = hub.open_stream("/api/v1/events/b");
    let kept = hub.publish("a", "kept");
    assert_eq!(reader.data(), "kept");
    redis.split();
    let lost = hub.publish("a", "lost");
    assert_eq!(reader.data(), "lost");
    redis.fail_over("new");
    reader.control_event("tidings.gap");
    assert_eq!(reader.data(), "new");
    redis.assert_gap_after(&kept, "new");
    redis.assert_gap_after(&lost, "new");
    hub.assert_delivers("b", "untouched", &mut other);
}

#[test]
fn lost_epoch_of_a_failover_gives_a_gap_after_a_flush_too() {
    let redis = ReplicatedRedis::start();
    let hub = &redis.hub;
    hub.publish("a", "flushed");
    redis.primary.command(&["FLUSHALL"]);
    let _reader = hub.open_stream(PATH);
    hub.publish("a", "kept 1");
    let kept = hub.publish("a", "kept 2");
    redis.split();
    redis.primary.command(&["DEBUG", "CHANGE-REPL-ID"]);
    let epoch = |id: &str| id.split('-').next().map(str::to_owned);
    eventually("events of another epoch are acknowledged", || {
        epoch(&hub.publish("a", "lost")) != epoch(&kept)
    });
    redis.fail_over("new");
    redis.assert_gap_after(&kept, "new");
}
