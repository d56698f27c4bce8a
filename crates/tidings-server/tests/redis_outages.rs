//! Nodes whose Redis pauses, hangs, loses data, and returns.

use std::time::{Duration, Instant};

use crate::prelude::*;
use crate::redis_nodes::{
    RedisNodes, SHORT_DEADLINE, TwoNodes, assert_each_gets_a_gap, assert_each_reads, wait_for_replica,
};

const PATH: &str = "/api/v1/events/a";
/// Longest time that a paused or half-open Redis may cost.
const FOUND_WITHIN: Duration = Duration::from_secs(10);

fn publish_once(hub: &TestHub, key: &str, text: &str) -> HttpResponse {
    hub.request("POST", PATH, &[("Idempotency-Key", key)], text.as_bytes())
}

/// Publishes until the event is accepted.
#[track_caller]
fn publish_until_accepted(hub: &TestHub, key: &str, text: &str) -> HttpResponse {
    let mut response = publish_once(hub, key, text);
    eventually("the publish is accepted", || {
        if response.head.status != 200 {
            assert_retryable(&response);
            response = publish_once(hub, key, text);
        }
        response.head.status == 200
    });
    response
}

#[track_caller]
fn assert_retryable(response: &HttpResponse) {
    assert_eq!(response.head.status, 503, "{}", response.text());
    let code = response.json()["code"].clone();
    assert!(code == "outcome_unknown" || code == "not_stored", "{code}");
}

#[test]
fn paused_redis_is_detected_and_a_retry_is_stored_once() {
    let nodes = TwoNodes::start(&[SHORT_DEADLINE]);
    let mut readers = nodes.open_streams(PATH);
    nodes.hubs[0].publish("a", "before");
    nodes.redis.pause();
    let begun = Instant::now();
    assert_retryable(&publish_once(&nodes.hubs[0], "k", "once"));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    nodes.hubs.iter().for_each(|hub| hub.wait_until_unready(""));
    assert!(begun.elapsed() < FOUND_WITHIN, "{:?}", begun.elapsed());
    assert!(nodes.hubs.iter().all(|hub| hub.get("/healthz").head.status == 200));
    nodes.redis.resume();
    nodes.wait_until_ready();
    let responses = nodes.hubs.each_ref().map(|hub| publish_until_accepted(hub, "k", "once").json());
    assert_eq!(responses[0], responses[1]);
    nodes.hubs[1].publish("a", "after");
    assert_each_reads(&mut readers, &["before", "once", "after"]);
}

#[test]
fn half_open_connection_is_detected_by_the_position_check() {
    let redis = RedisServer::start();
    let proxy = TcpProxy::start(redis.address());
    let hubs = [TestHub::with_redis_at(&proxy.redis_url(), &[]), TestHub::with_redis(&redis, &[])];
    hubs.iter().for_each(|hub| hub.wait_until_ready());
    let mut reader = hubs[0].open_stream(PATH);
    hubs[1].assert_delivers("a", "before", &mut reader);
    proxy.discard_open();
    let begun = Instant::now();
    hubs[1].assert_delivers("a", "behind it", &mut reader);
    assert!(begun.elapsed() < FOUND_WITHIN, "{:?}", begun.elapsed());
    hubs[0].wait_until_ready();
    hubs[0].assert_delivers("a", "of the node itself", &mut reader);
}

#[test]
fn long_deadline_does_not_hide_a_redis_that_hangs() {
    let nodes = RedisNodes::<1>::start(&[("TIDINGS_REDIS_DEADLINE", "30s")]);
    nodes.redis.pause();
    let begun = Instant::now();
    nodes.hubs[0].wait_until_unready("");
    assert!(begun.elapsed() < FOUND_WITHIN, "{:?}", begun.elapsed());
    nodes.redis.resume();
    nodes.wait_until_ready();
}

#[test]
fn closed_connections_and_a_sleeping_redis_lose_and_repeat_nothing() {
    let nodes = TwoNodes::start(&[SHORT_DEADLINE]);
    let mut readers = nodes.open_streams(PATH);
    let mut sleeping = nodes.redis.connect();
    for number in 0..200 {
        if number == 100 {
            sleeping.send(&["DEBUG", "SLEEP", "5"]).unwrap();
        } else if number > 100 && number % 10 == 0 || number % 10 == 5 {
            nodes.redis.client_kill("normal");
        }
        publish_until_accepted(&nodes.hubs[number % 2], &format!("{number}"), &format!("{number}"));
    }
    assert_each_reads(&mut readers, &numbers(0..200));
}

#[test]
fn flush_is_detected_without_publishes() {
    let nodes = TwoNodes::start(&[SHORT_DEADLINE]);
    let mut readers = nodes.open_streams(PATH);
    for number in numbers(0..5) {
        nodes.hubs[0].publish("a", number);
    }
    assert_each_reads(&mut readers, &numbers(0..5));
    nodes.redis.command(&["FLUSHALL"]);
    assert_each_gets_a_gap(&mut readers);
    for number in 0..10 {
        nodes.hubs[number % 2].publish("a", format!("new {number}"));
    }
    let expected: Vec<String> = (0..10).map(|number| format!("new {number}")).collect();
    assert_each_reads(&mut readers, &expected);
}

#[test]
fn redis_that_replicated_an_empty_server_is_detected() {
    let nodes = TwoNodes::start(&[SHORT_DEADLINE]);
    let mut readers = nodes.open_streams(PATH);
    let empty = RedisServer::start();
    let old = nodes.hubs[0].publish("a", "lost");
    assert_each_reads(&mut readers, &["lost"]);
    nodes.redis.replicate(&empty);
    nodes.redis.promote();
    assert_each_gets_a_gap(&mut readers);
    publish_until_accepted(&nodes.hubs[1], "k", "new");
    assert_each_reads(&mut readers, &["new"]);
    let mut late = nodes.hubs[0].resume(PATH, &old);
    late.control_event("tidings.gap");
    assert_eq!(late.data(), "new");
}

#[test]
fn redis_that_replicated_its_own_replica_gives_no_gap() {
    let nodes = TwoNodes::start(&[SHORT_DEADLINE]);
    let replica = RedisServer::start_replica_of(&nodes.redis);
    let mut readers = nodes.open_streams(PATH);
    let first = nodes.hubs[0].publish("a", "first");
    wait_for_replica(&nodes.redis, &replica);
    replica.promote();
    nodes.redis.replicate(&replica);
    eventually("a publish is refused", || publish_once(&nodes.hubs[0], "k", "second").head.status == 503);
    nodes.redis.promote();
    publish_until_accepted(&nodes.hubs[0], "k", "second");
    assert_each_reads(&mut readers, &["first", "second"]);
    for hub in &nodes.hubs {
        hub.wait_until_ready();
        assert_eq!(hub.resume(PATH, &first).data(), "second");
    }
}

#[test]
fn restart_with_data_gives_no_gap_to_open_and_resumed_streams() {
    let nodes = TwoNodes::over(RedisServer::start_durable(), &[SHORT_DEADLINE]);
    let mut readers = nodes.open_streams(PATH);
    let first = nodes.hubs[0].publish("a", "first");
    let second = nodes.hubs[1].publish("a", "second");
    nodes.redis.restart();
    publish_until_accepted(&nodes.hubs[0], "k", "third");
    for (reader, hub) in readers.iter_mut().zip(&nodes.hubs) {
        assert_eq!(reader.data_of_next(3), ["first", "second", "third"]);
        assert_eq!(hub.resume(PATH, &first).data_of_next(2), ["second", "third"]);
        assert_eq!(hub.resume(PATH, &second).data(), "third");
    }
}

#[test]
fn client_ahead_of_its_new_node_waits_for_the_node() {
    let redis = RedisServer::start();
    let proxy = TcpProxy::start(redis.address());
    let late = TestHub::with_redis_at(&proxy.redis_url(), &[SHORT_DEADLINE]);
    let early = TestHub::with_redis(&redis, &[SHORT_DEADLINE]);
    early.wait_until_ready();
    early.publish("a", "first");
    late.wait_until_ready();
    proxy.pause();
    let newer = early.publish("a", "newer");
    let connection = late.send_request("GET", PATH, &[("Last-Event-ID", &newer)], b"");
    late.wait_until_unready("");
    early.publish("a", "after");
    proxy.resume();
    let mut moved = SseReader::open(connection);
    assert_eq!(moved.data(), "after");
    early.assert_delivers("a", "later", &mut moved);
}

#[test]
fn full_redis_refuses_publishes_and_serves_reads() {
    let nodes = RedisNodes::<1>::start(&[SHORT_DEADLINE]);
    let [early] = &nodes.hubs;
    let first = early.publish("a", "first");
    early.publish("a", "second");
    let open = early.open_stream(PATH);
    nodes.redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    // Without publishes the node detects it by itself. A node that starts now reads the existing events.
    let late = nodes.start_node();
    for hub in [early, &late] {
        hub.wait_until_unready("OOM");
        assert_eq!(hub.resume(PATH, &first).data(), "second");
        assert_eq!(hub.stored("a"), ["first", "second"]);
        hub.open_stream(PATH);
        publish_once(hub, "refused", "refused").assert_problem(503, "not_stored");
    }
    nodes.redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    for hub in [early, &late] {
        hub.wait_until_ready();
    }
    let other = late.open_stream(PATH);
    for number in numbers(0..20) {
        early.publish("a", number);
    }
    assert_each_reads(&mut [open, other], &numbers(0..20));
}

#[test]
fn full_redis_on_another_server_serves_reads_and_no_publish_before_its_epoch() {
    let nodes = RedisNodes::<1>::over(RedisServer::start_durable(), &[SHORT_DEADLINE]);
    let [hub] = &nodes.hubs;
    let first = hub.publish("a", "first");
    let second = hub.publish("a", "second");
    nodes.redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    nodes.redis.command(&["DEBUG", "CHANGE-REPL-ID"]);
    hub.wait_until_unready("OOM");
    assert_eq!(hub.resume(PATH, &first).data(), "second");
    hub.open_stream(PATH);
    nodes.redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    let id = publish_until_accepted(hub, "k", "third").json()["id"].as_str().unwrap().to_owned();
    let epoch = |id: &str| id.split('-').next().map(str::to_owned);
    assert_ne!(epoch(&id), epoch(&second));
    assert_eq!(hub.resume(PATH, &first).data_of_next(2), ["second", "third"]);
}

#[test]
fn log_that_lost_a_key_begins_anew_with_a_gap() {
    let nodes = TwoNodes::start(&[SHORT_DEADLINE]);
    let mut readers = nodes.open_streams(PATH);
    for (number, key) in ["{tidings}:epochs", "{tidings}:meta"].into_iter().enumerate() {
        let old = publish_until_accepted(&nodes.hubs[0], &format!("old {number}"), "old").json();
        assert_each_reads(&mut readers, &["old"]);
        nodes.redis.command(&["DEL", key]);
        publish_until_accepted(&nodes.hubs[1], &format!("new {number}"), "new");
        assert_each_gets_a_gap(&mut readers);
        assert_each_reads(&mut readers, &["new"]);
        nodes.wait_until_ready();
        // The idempotency key of a lost event is lost with it.
        let again = publish_until_accepted(&nodes.hubs[0], &format!("old {number}"), "old").json();
        assert_ne!(again["id"], old["id"]);
        assert_each_reads(&mut readers, &["old"]);
    }
}

#[test]
fn eviction_policy_of_redis_is_reported() {
    let redis = RedisServer::options().arguments(["--maxmemory-policy", "allkeys-lru"]).start();
    let hub = TestHub::with_redis(&redis, &[SHORT_DEADLINE]);
    hub.wait_until_ready();
    eventually("a metric reports the policy", || {
        hub.get("/metrics").text().contains("tidings_broker_evicts 1")
    });
}
