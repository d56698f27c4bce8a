//! Several nodes with one log in Redis.

use serde_json::json;
use tidings_testkit::{RedisServer, RespReply, TcpProxy, eventually};

use crate::hub::TestHub;

/// Two ready nodes.
fn two(redis: &RedisServer) -> [TestHub; 2] {
    let hubs = [(); 2].map(|()| TestHub::with_redis(redis, &[]));
    hubs.iter().for_each(|hub| hub.wait_until_ready());
    hubs
}

#[test]
fn event_published_at_one_node_is_read_at_both_with_the_same_id() {
    let redis = RedisServer::start();
    let hubs = two(&redis);
    let mut readers = hubs.each_ref().map(|hub| hub.subscribe("/api/v1/events/a"));
    readers.iter_mut().for_each(|reader| drop(reader.position()));
    for number in 0..50 {
        let id = hubs[number % 2].publish("a", format!("{number}"));
        for reader in &mut readers {
            let event = reader.event();
            assert_eq!((event.data, event.last_event_id), (number.to_string(), id.clone()));
        }
    }
}

#[test]
fn client_moves_between_nodes_and_misses_nothing() {
    let redis = RedisServer::start();
    let hubs = two(&redis);
    let mut id = hubs[0].publish("a", "0");
    for number in 1..40 {
        hubs[number % 2].publish("a", format!("{number}"));
        hubs[number % 2].publish("b", "another channel");
        let mut reader = hubs[(number / 2) % 2].resume("/api/v1/events/a", &id);
        assert_eq!(reader.data(), number.to_string());
        id = reader.last_event_id().to_owned();
    }
}

#[test]
fn late_node_has_the_events_published_before_its_start() {
    let redis = RedisServer::start();
    let early = TestHub::with_redis(&redis, &[]);
    early.wait_until_ready();
    let first = early.publish("a", "first");
    for number in 0..3 {
        early.publish_batch((0..400).map(|at| json!({"channels": ["a"], "data": format!("{number} {at}")})));
    }
    let late = TestHub::with_redis(&redis, &[]);
    late.wait_until_ready();
    let mut reader = late.resume("/api/v1/events/a", &first);
    for number in 0..3 {
        for at in 0..400 {
            assert_eq!(reader.data(), format!("{number} {at}"));
        }
    }
}

#[test]
fn transient_events_take_few_round_trips_and_follow_their_stored_event() {
    let redis = RedisServer::start();
    let hubs = two(&redis);
    let mut readers = hubs.each_ref().map(|hub| hub.subscribe("/api/v1/events/a"));
    readers.iter_mut().for_each(|reader| drop(reader.position()));
    let reads = || redis.info("total_reads_processed").parse::<u64>().unwrap();
    let before = reads();
    // One event in ten is stored. A stream takes at most 64 of the others at once.
    let lines = (0..1000).map(|number| {
        let store = number % 10 == 0;
        let channel = if store || number % 20 == 1 { "a" } else { "b" };
        let data = format!("{} {number}", if store { "stored" } else { "transient" });
        format!("{}\n", json!({"channels": [channel], "data": data, "store": store}))
    });
    let lines: String = lines.collect();
    let headers = [("Content-Type", "application/x-ndjson")];
    let answer =
        hubs[0].request("POST", "/api/v1/publish", &headers, lines.as_bytes()).assert_status(200).json();
    let trips = reads() - before;
    assert!(trips < 200, "redis read {trips} times");
    let ids = answer.as_array().unwrap().iter().map(|answer| answer["id"].is_string());
    assert_eq!(ids.collect::<Vec<_>>(), (0..1000).map(|number| number % 10 == 0).collect::<Vec<_>>());
    let stored = (0..100).map(|number| format!("stored {}", 10 * number));
    let transient = (0..50).map(|number| format!("transient {}", 20 * number + 1));
    let expected: Vec<_> = stored.chain(transient).collect();
    for reader in &mut readers {
        assert_eq!(reader.data_of_next(150), expected);
    }
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
    let own =
        |command: &[&str]| redis.command(command).list().iter().map(RespReply::text).collect::<Vec<_>>();
    let mut channels = own(&["PUBSUB", "CHANNELS", "{tidings}:*"]);
    channels.sort();
    assert_eq!(channels, ["{tidings}:changes", "{tidings}:changes:1", "{tidings}:live", "{tidings}:live:1"]);
    let mut readers = hubs.each_ref().map(|hub| hub.subscribe("/api/v1/events/a"));
    readers.iter_mut().for_each(|reader| drop(reader.position()));
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
    let redis = RedisServer::start();
    let hubs = two(&redis);
    let mut readers = hubs.each_ref().map(|hub| hub.subscribe("/api/v1/events/a"));
    readers.iter_mut().for_each(|reader| drop(reader.position()));
    for number in 0..20 {
        hubs[0].publish("a", format!("stored {number}"));
        hubs[0].post("/api/v1/events/a?store=false", format!("transient {number}")).assert_status(200);
    }
    // They arrive over two connections: one may be ahead of the other.
    for reader in &mut readers {
        let (stored, transient): (Vec<_>, Vec<_>) =
            reader.data_of_next(40).into_iter().partition(|text| text.starts_with("stored"));
        assert_eq!(stored, (0..20).map(|number| format!("stored {number}")).collect::<Vec<_>>());
        assert_eq!(transient, (0..20).map(|number| format!("transient {number}")).collect::<Vec<_>>());
    }
}

#[test]
fn repeated_publish_at_another_node_gets_the_first_result() {
    let redis = RedisServer::start();
    let hubs = two(&redis);
    let publish = |hub: &TestHub, text: &str| {
        hub.request("POST", "/api/v1/events/a", &[("Idempotency-Key", "k")], text.as_bytes())
    };
    let first = publish(&hubs[0], "once").assert_status(200).json();
    let again = publish(&hubs[1], "once").assert_status(200).json();
    assert_eq!(first, again);
    publish(&hubs[1], "other").assert_problem(409, "idempotency_conflict");
    let history = hubs[1].get("/api/v1/channels/a/events").assert_status(200).json();
    assert_eq!(history["events"].as_array().unwrap().len(), 1);
}

#[test]
fn message_of_another_program_reaches_clients_of_every_node_once() {
    let redis = RedisServer::start();
    let hubs = two(&redis);
    let mut readers: Vec<_> = hubs
        .iter()
        .flat_map(|hub| {
            [hub.subscribe("/api/v1/events/project.42"), hub.subscribe("/api/v1/events/project.42")]
        })
        .collect();
    readers.iter_mut().for_each(|reader| drop(reader.position()));
    wait_for_subscribers(&redis, "project.42", 2);
    redis.command(&["PUBLISH", "project.42", r#"{"type":"t","object":{}}"#]);
    hubs[0].publish("project.42", "behind it");
    for reader in &mut readers {
        let mut texts = reader.data_of_next(2);
        texts.sort();
        assert_eq!(texts, ["behind it", r#"{"type":"t","object":{}}"#]);
    }
}

/// Waits until so many nodes are subscribed to a channel.
#[track_caller]
fn wait_for_subscribers(redis: &RedisServer, channel: &str, nodes: i64) {
    eventually(
        "the nodes are subscribed to the channel",
        || matches!(&redis.command(&["PUBSUB", "NUMSUB", channel]), RespReply::List(list) if matches!(list.last(), Some(RespReply::Integer(count)) if *count == nodes)),
    );
}

#[test]
fn nodes_receive_neither_unlisted_channels_nor_keyspace_notifications() {
    let redis = RedisServer::start();
    redis.command(&["CONFIG", "SET", "notify-keyspace-events", "KEA"]);
    let hub = TestHub::with_redis(&redis, &[("TIDINGS_REDIS_LISTEN", "open.**")]);
    hub.wait_until_ready();
    let mut open = hub.subscribe("/api/v1/events/open.a");
    let mut closed = hub.subscribe("/api/v1/events/closed.a");
    let mut keys = hub.subscribe("/api/v1/events/__keyevent@0__:del");
    keys.position();
    open.position();
    closed.position();
    wait_for_subscribers(&redis, "open.a", 1);
    redis.command(&["PUBLISH", "closed.a", "not heard"]);
    redis.command(&["PUBLISH", "open.a", "heard"]);
    redis.command(&["SET", "key", "value"]);
    redis.command(&["DEL", "key"]);
    hub.publish("__keyevent@0__:del", "from the log");
    assert_eq!(keys.data(), "from the log");
    hub.publish("closed.a", "from the log");
    assert_eq!(open.data(), "heard");
    assert_eq!(closed.data(), "from the log");
}

#[test]
fn streams_survive_an_outage_and_continue_without_a_hole() {
    let redis = RedisServer::start_durable();
    let settings = [("TIDINGS_REDIS_DEADLINE", "1s")];
    let hubs = [(); 2].map(|()| TestHub::with_redis(&redis, &settings));
    hubs.iter().for_each(|hub| hub.wait_until_ready());
    let mut readers = hubs.each_ref().map(|hub| hub.subscribe("/api/v1/events/a"));
    readers.iter_mut().for_each(|reader| drop(reader.position()));
    hubs[0].publish("a", "before");
    redis.kill();
    let refused = hubs[0].post("/api/v1/events/a", "meanwhile");
    assert_eq!(refused.head.status, 503, "{refused:?}");
    eventually("the nodes are not ready", || hubs.iter().all(|hub| hub.get("/readyz").head.status == 503));
    assert!(hubs.iter().all(|hub| hub.get("/healthz").head.status == 200));
    redis.restart();
    hubs.iter().for_each(|hub| hub.wait_until_ready());
    hubs[1].publish("a", "after");
    for reader in &mut readers {
        assert_eq!(reader.data_of_next(2), ["before", "after"]);
    }
}

#[test]
fn loss_of_all_data_gives_a_gap_and_streams_continue() {
    let redis = RedisServer::start();
    let hubs = two(&redis);
    let mut readers = hubs.each_ref().map(|hub| hub.subscribe("/api/v1/events/a"));
    readers.iter_mut().for_each(|reader| drop(reader.position()));
    let old = hubs[0].publish("a", "lost");
    for reader in &mut readers {
        assert_eq!(reader.data(), "lost");
    }
    redis.command(&["FLUSHALL"]);
    hubs[0].publish("a", "new");
    for reader in &mut readers {
        reader.control_event("tidings.gap");
        assert_eq!(reader.data(), "new");
    }
    let mut late = hubs[1].resume("/api/v1/events/a", &old);
    late.control_event("tidings.gap");
    assert_eq!(late.data(), "new");
}

/// A Redis and its replica behind one address.
struct ReplicatedRedis {
    primary: RedisServer,
    replica: RedisServer,
    proxy: TcpProxy,
}

impl ReplicatedRedis {
    fn start() -> Self {
        let primary = RedisServer::start();
        let replica = RedisServer::start_replica_of(&primary);
        let proxy = TcpProxy::start(primary.address());
        Self { primary, replica, proxy }
    }

    /// Waits until the replica has the data of the primary.
    #[track_caller]
    fn agree(&self) {
        let offset = |redis: &RedisServer| redis.info("master_repl_offset");
        eventually("the replica has the data", || offset(&self.replica) == offset(&self.primary));
    }

    /// Kills the primary, and leads the address to the replica.
    fn fail_over(&self) {
        self.primary.kill();
        self.proxy.redirect_to(self.replica.address());
    }
}

#[test]
fn failover_without_loss_gives_no_gap() {
    let redis = ReplicatedRedis::start();
    let hub = TestHub::with_redis_at(&redis.proxy.redis_url(), &[]);
    hub.wait_until_ready();
    let mut reader = hub.subscribe("/api/v1/events/a");
    reader.position();
    let first = hub.publish("a", "first");
    assert_eq!(reader.data(), "first");
    redis.agree();
    redis.replica.promote();
    redis.fail_over();
    eventually("publishes are accepted again", || hub.post("/api/v1/events/a", "second").head.status == 200);
    assert_eq!(reader.data(), "second");
    assert_eq!(hub.resume("/api/v1/events/a", &first).data(), "second");
}

#[test]
fn failover_that_lost_an_event_gives_a_gap_to_clients_with_and_without_it() {
    let redis = ReplicatedRedis::start();
    let hub = TestHub::with_redis_at(&redis.proxy.redis_url(), &[]);
    hub.wait_until_ready();
    let mut reader = hub.subscribe("/api/v1/events/a");
    let mut other = hub.subscribe("/api/v1/events/b");
    reader.position();
    other.position();
    let kept = hub.publish("a", "kept");
    assert_eq!(reader.data(), "kept");
    redis.agree();
    redis.replica.promote();
    let lost = hub.publish("a", "lost");
    assert_eq!(reader.data(), "lost");
    redis.fail_over();
    eventually("publishes are accepted again", || hub.post("/api/v1/events/a", "new").head.status == 200);
    reader.control_event("tidings.gap");
    assert_eq!(reader.data(), "new");
    for id in [&kept, &lost] {
        let mut back = hub.resume("/api/v1/events/a", id);
        back.control_event("tidings.gap");
        assert_eq!(back.data(), "new");
    }
    hub.publish("b", "untouched");
    assert_eq!(other.data(), "untouched");
}

#[test]
fn lost_epoch_of_a_failover_gives_a_gap_after_a_flush_too() {
    let redis = ReplicatedRedis::start();
    let hub = TestHub::with_redis_at(&redis.proxy.redis_url(), &[]);
    hub.wait_until_ready();
    hub.publish("a", "flushed");
    redis.primary.command(&["FLUSHALL"]);
    let mut reader = hub.subscribe("/api/v1/events/a");
    reader.position();
    hub.publish("a", "kept 1");
    let kept = hub.publish("a", "kept 2");
    redis.agree();
    redis.replica.promote();
    redis.primary.command(&["DEBUG", "CHANGE-REPL-ID"]);
    let epoch = |id: &str| id.split('-').next().map(str::to_owned);
    eventually("events of another epoch are acknowledged", || {
        epoch(&hub.publish("a", "lost")) != epoch(&kept)
    });
    redis.fail_over();
    eventually("publishes are accepted again", || hub.post("/api/v1/events/a", "new").head.status == 200);
    let mut back = hub.resume("/api/v1/events/a", &kept);
    back.control_event("tidings.gap");
    assert_eq!(back.data(), "new");
}
