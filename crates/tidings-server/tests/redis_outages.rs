//! Nodes whose Redis pauses, hangs, loses data, and returns.

use std::time::{Duration, Instant};

use tidings_testkit::{HttpResponse, RedisServer, SseReader, TcpProxy, eventually};

use crate::hub::TestHub;

const PATH: &str = "/api/v1/events/a";
/// Longest time that a paused or half-open Redis may cost.
const FOUND_WITHIN: Duration = Duration::from_secs(10);
const SOON: [(&str, &str); 1] = [("TIDINGS_REDIS_DEADLINE", "1s")];

/// Ready nodes with a short deadline for Redis.
fn nodes(redis: &RedisServer) -> [TestHub; 2] {
    let hubs = [(); 2].map(|()| TestHub::with_redis(redis, &SOON));
    hubs.iter().for_each(|hub| hub.wait_until_ready());
    hubs
}

/// A stream that has reached its position.
#[track_caller]
fn reader(hub: &TestHub) -> SseReader {
    let mut reader = hub.subscribe(PATH);
    reader.position();
    reader
}

fn publish_once(hub: &TestHub, key: &str, text: &str) -> HttpResponse {
    hub.request("POST", PATH, &[("Idempotency-Key", key)], text.as_bytes())
}

/// Publishes until the event is accepted.
#[track_caller]
fn publish_until_accepted(hub: &TestHub, key: &str, text: &str) -> HttpResponse {
    let mut answer = publish_once(hub, key, text);
    eventually("the publish is accepted", || {
        if answer.head.status != 200 {
            assert_retryable(&answer);
            answer = publish_once(hub, key, text);
        }
        answer.head.status == 200
    });
    answer
}

#[track_caller]
fn assert_retryable(answer: &HttpResponse) {
    assert_eq!(answer.head.status, 503, "{}", answer.text());
    let code = answer.json()["code"].clone();
    assert!(code == "outcome_unknown" || code == "not_stored", "{code}");
}

#[test]
fn paused_redis_is_detected_and_a_retry_is_stored_once() {
    let redis = RedisServer::start();
    let hubs = nodes(&redis);
    let mut readers = hubs.each_ref().map(reader);
    hubs[0].publish("a", "before");
    redis.pause();
    let begun = Instant::now();
    assert_retryable(&publish_once(&hubs[0], "k", "once"));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    eventually("the nodes are not ready", || hubs.iter().all(|hub| hub.get("/readyz").head.status == 503));
    assert!(begun.elapsed() < FOUND_WITHIN, "{:?}", begun.elapsed());
    assert!(hubs.iter().all(|hub| hub.get("/healthz").head.status == 200));
    redis.resume();
    hubs.iter().for_each(|hub| hub.wait_until_ready());
    let answers = hubs.each_ref().map(|hub| publish_until_accepted(hub, "k", "once").json());
    assert_eq!(answers[0], answers[1]);
    hubs[1].publish("a", "after");
    for reader in &mut readers {
        assert_eq!(reader.data_of_next(3), ["before", "once", "after"]);
    }
}

#[test]
fn half_open_connection_is_detected_by_the_position_check() {
    let redis = RedisServer::start();
    let proxy = TcpProxy::start(redis.address());
    let hubs = [TestHub::with_redis_at(&proxy.redis_url(), &[]), TestHub::with_redis(&redis, &[])];
    hubs.iter().for_each(|hub| hub.wait_until_ready());
    let mut reader = reader(&hubs[0]);
    hubs[1].publish("a", "before");
    assert_eq!(reader.data(), "before");
    proxy.discard_open();
    let begun = Instant::now();
    hubs[1].publish("a", "behind it");
    assert_eq!(reader.data(), "behind it");
    assert!(begun.elapsed() < FOUND_WITHIN, "{:?}", begun.elapsed());
    hubs[0].wait_until_ready();
    hubs[0].publish("a", "of the node itself");
    assert_eq!(reader.data(), "of the node itself");
}

#[test]
fn long_deadline_does_not_hide_a_redis_that_hangs() {
    let redis = RedisServer::start();
    let hub = TestHub::with_redis(&redis, &[("TIDINGS_REDIS_DEADLINE", "30s")]);
    hub.wait_until_ready();
    redis.pause();
    let begun = Instant::now();
    eventually("the node is not ready", || hub.get("/readyz").head.status == 503);
    assert!(begun.elapsed() < FOUND_WITHIN, "{:?}", begun.elapsed());
    redis.resume();
    hub.wait_until_ready();
}

#[test]
fn closed_connections_and_a_sleeping_redis_lose_and_repeat_nothing() {
    let redis = RedisServer::start();
    let hubs = nodes(&redis);
    let mut readers = hubs.each_ref().map(reader);
    let mut sleeping = redis.connect();
    for number in 0..200 {
        if number == 100 {
            sleeping.send(&["DEBUG", "SLEEP", "5"]).unwrap();
        } else if number > 100 && number % 10 == 0 || number % 10 == 5 {
            redis.client_kill("normal");
        }
        publish_until_accepted(&hubs[number % 2], &format!("{number}"), &format!("{number}"));
    }
    let expected: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    for reader in &mut readers {
        assert_eq!(reader.data_of_next(200), expected);
    }
}

#[test]
fn flush_is_detected_without_publishes() {
    let redis = RedisServer::start();
    let hubs = nodes(&redis);
    let mut readers = hubs.each_ref().map(reader);
    for number in 0..5 {
        hubs[0].publish("a", format!("{number}"));
    }
    for reader in &mut readers {
        reader.data_of_next(5);
    }
    redis.command(&["FLUSHALL"]);
    for reader in &mut readers {
        reader.control_event("tidings.gap");
    }
    for number in 0..10 {
        hubs[number % 2].publish("a", format!("new {number}"));
    }
    for reader in &mut readers {
        assert_eq!(
            reader.data_of_next(10),
            (0..10).map(|number| format!("new {number}")).collect::<Vec<_>>()
        );
    }
}

#[test]
fn redis_that_replicated_an_empty_server_is_detected() {
    let (redis, empty) = (RedisServer::start(), RedisServer::start());
    let hubs = nodes(&redis);
    let mut readers = hubs.each_ref().map(reader);
    let old = hubs[0].publish("a", "lost");
    for reader in &mut readers {
        assert_eq!(reader.data(), "lost");
    }
    redis.replicate(&empty);
    redis.promote();
    for reader in &mut readers {
        reader.control_event("tidings.gap");
    }
    publish_until_accepted(&hubs[1], "k", "new");
    for reader in &mut readers {
        assert_eq!(reader.data(), "new");
    }
    let mut late = hubs[0].resume(PATH, &old);
    late.control_event("tidings.gap");
    assert_eq!(late.data(), "new");
}

#[test]
fn redis_that_replicated_its_own_replica_gives_no_gap() {
    let redis = RedisServer::start();
    let replica = RedisServer::start_replica_of(&redis);
    let hubs = nodes(&redis);
    let mut readers = hubs.each_ref().map(reader);
    let first = hubs[0].publish("a", "first");
    eventually("the replica has the data", || {
        replica.info("master_repl_offset") == redis.info("master_repl_offset")
    });
    replica.promote();
    redis.replicate(&replica);
    eventually("a publish is refused", || publish_once(&hubs[0], "k", "second").head.status == 503);
    redis.promote();
    publish_until_accepted(&hubs[0], "k", "second");
    for reader in &mut readers {
        assert_eq!(reader.data_of_next(2), ["first", "second"]);
    }
    for hub in &hubs {
        hub.wait_until_ready();
        assert_eq!(hub.resume(PATH, &first).data(), "second");
    }
}

#[test]
fn restart_with_data_gives_no_gap_to_open_and_resumed_streams() {
    let redis = RedisServer::start_durable();
    let hubs = nodes(&redis);
    let mut readers = hubs.each_ref().map(reader);
    let first = hubs[0].publish("a", "first");
    let second = hubs[1].publish("a", "second");
    redis.restart();
    publish_until_accepted(&hubs[0], "k", "third");
    for (reader, hub) in readers.iter_mut().zip(&hubs) {
        assert_eq!(reader.data_of_next(3), ["first", "second", "third"]);
        assert_eq!(hub.resume(PATH, &first).data_of_next(2), ["second", "third"]);
        assert_eq!(hub.resume(PATH, &second).data(), "third");
    }
}

#[test]
fn client_ahead_of_its_new_node_waits_for_the_node() {
    let redis = RedisServer::start();
    let proxy = TcpProxy::start(redis.address());
    let late = TestHub::with_redis_at(&proxy.redis_url(), &SOON);
    let early = TestHub::with_redis(&redis, &SOON);
    early.wait_until_ready();
    early.publish("a", "first");
    late.wait_until_ready();
    proxy.pause();
    let newer = early.publish("a", "newer");
    let mut connection = late.connect();
    connection.send(late.encode_request("GET", PATH, &[("Last-Event-ID", &newer)], b""));
    eventually("the node is disconnected from Redis", || late.get("/readyz").head.status == 503);
    early.publish("a", "after");
    proxy.resume();
    let mut moved = SseReader::open(connection);
    assert_eq!(moved.data(), "after");
    early.publish("a", "later");
    assert_eq!(moved.data(), "later");
}

#[test]
fn full_redis_refuses_publishes_and_serves_reads() {
    let redis = RedisServer::start();
    let hubs = [TestHub::with_redis(&redis, &SOON)];
    hubs[0].wait_until_ready();
    let first = hubs[0].publish("a", "first");
    hubs[0].publish("a", "second");
    let mut open = reader(&hubs[0]);
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    // Without publishes the node detects it by itself. A node that starts now reads the existing events.
    let late = TestHub::with_redis(&redis, &SOON);
    for hub in [&hubs[0], &late] {
        eventually("the node is not ready", || {
            let answer = hub.get("/readyz");
            answer.head.status == 503 && answer.text().contains("OOM")
        });
        assert_eq!(hub.resume(PATH, &first).data(), "second");
        let history = hub.get("/api/v1/channels/a/events").assert_status(200).json();
        assert_eq!(history["events"].as_array().unwrap().len(), 2);
        reader(hub);
        publish_once(hub, "refused", "refused").assert_problem(503, "not_stored");
    }
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    for hub in [&hubs[0], &late] {
        hub.wait_until_ready();
    }
    let mut other = reader(&late);
    for number in 0..20 {
        hubs[0].publish("a", format!("{number}"));
    }
    let expected: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    assert_eq!(open.data_of_next(20), expected);
    assert_eq!(other.data_of_next(20), expected);
}

#[test]
fn full_redis_on_another_server_serves_reads_and_no_publish_before_its_epoch() {
    let redis = RedisServer::start_durable();
    let hub = TestHub::with_redis(&redis, &SOON);
    hub.wait_until_ready();
    let first = hub.publish("a", "first");
    let second = hub.publish("a", "second");
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    redis.command(&["DEBUG", "CHANGE-REPL-ID"]);
    eventually("the node is not ready", || hub.get("/readyz").text().contains("OOM"));
    assert_eq!(hub.resume(PATH, &first).data(), "second");
    reader(&hub);
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    let id = publish_until_accepted(&hub, "k", "third").json()["id"].as_str().unwrap().to_owned();
    let epoch = |id: &str| id.split('-').next().map(str::to_owned);
    assert_ne!(epoch(&id), epoch(&second));
    assert_eq!(hub.resume(PATH, &first).data_of_next(2), ["second", "third"]);
}

#[test]
fn log_that_lost_a_key_begins_anew_with_a_gap() {
    let redis = RedisServer::start();
    let hubs = nodes(&redis);
    let mut readers = hubs.each_ref().map(reader);
    for (number, key) in ["{tidings}:epochs", "{tidings}:meta"].into_iter().enumerate() {
        let old = publish_until_accepted(&hubs[0], &format!("old {number}"), "old").json();
        for reader in &mut readers {
            assert_eq!(reader.data(), "old");
        }
        redis.command(&["DEL", key]);
        publish_until_accepted(&hubs[1], &format!("new {number}"), "new");
        for reader in &mut readers {
            reader.control_event("tidings.gap");
            assert_eq!(reader.data(), "new");
        }
        hubs.iter().for_each(|hub| hub.wait_until_ready());
        // The idempotency key of a lost event is lost with it.
        let again = publish_until_accepted(&hubs[0], &format!("old {number}"), "old").json();
        assert_ne!(again["id"], old["id"]);
        for reader in &mut readers {
            assert_eq!(reader.data(), "old");
        }
    }
}

#[test]
fn eviction_policy_of_redis_is_reported() {
    let redis = RedisServer::options().arguments(["--maxmemory-policy", "allkeys-lru"]).start();
    let hub = TestHub::with_redis(&redis, &SOON);
    hub.wait_until_ready();
    eventually("a metric reports the policy", || {
        hub.get("/metrics").text().contains("tidings_broker_evicts 1")
    });
}
