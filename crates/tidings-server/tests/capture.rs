//! Capture of messages of other programs into the log, and the mirror of the log's events to them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use tidings_testkit::{RedisServer, RespConnection, RespReply, eventually, numbers};

use super::redis_publishers::{ALL, assert_python_messages, open_all, run_python_publisher};
use crate::hub::TestHub;
use crate::redis_nodes::{RedisNodes, TwoNodes, assert_each_reads};

const CHANNEL: &str = "project.42";
const PATH: &str = "/api/v1/events/project.42";
const CAPTURE: [(&str, &str); 3] = [
    ("TIDINGS_REDIS_CAPTURE", "project.**"),
    ("TIDINGS_REDIS_LEASE", "500ms"),
    ("TIDINGS_LOG_RETENTION_EVENTS", "1000000"),
];
const MIRROR: [(&str, &str); 1] = [("TIDINGS_REDIS_MIRROR", "project.**")];
const CAPTURED: &str = "tidings_capture_appended_total";

impl<const N: usize> RedisNodes<N> {
    /// Closes the Pub/Sub connection at this place in the list of Redis, and waits until all nodes have one again.
    #[track_caller]
    fn close_pubsub_connection(&self, place: usize) {
        let clients = || self.redis.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).text();
        let id = clients().lines().nth(place).unwrap().split([' ', '=']).nth(1).unwrap().to_owned();
        assert_eq!(self.redis.command(&["CLIENT", "KILL", "ID", &id]).integer(), 1);
        let closed = format!("id={id} ");
        eventually("all nodes are subscribed", || {
            clients().lines().count() == N && !clients().contains(&closed)
        });
    }
}

impl TwoNodes {
    /// Returns the number of the node that captures.
    fn capturing_node(&self) -> usize {
        let before = self.metrics(CAPTURED);
        self.message(CHANNEL, "probe");
        let mut capturing_node = None;
        eventually("one of the nodes captures", || {
            let now = self.metrics(CAPTURED);
            capturing_node = (0..2).find(|number| now[*number] > before[*number]);
            capturing_node.is_some()
        });
        capturing_node.unwrap()
    }
}

#[test]
fn captured_message_gets_an_id_and_is_resumed_at_any_node() {
    let nodes = TwoNodes::start(&CAPTURE);
    let mut readers = open_all(&nodes, [PATH, "/api/v1/events/**"]);
    // Redis delivers `project.**` to the nodes although no client subscribes to it.
    nodes.wait_for_subscriptions([(ALL.0, ALL.1 + 1); 2]);
    let first = nodes.hubs[0].publish(CHANNEL, "first");
    nodes.message(CHANNEL, "captured");
    nodes.message("other", "live");
    nodes.message(CHANNEL, "captured, too");
    for reader in &mut readers[..2] {
        assert_eq!(reader.data_of_next(3), ["first", "captured", "captured, too"]);
        assert_ne!(reader.last_event_id(), first);
    }
    for reader in &mut readers[2..] {
        let mut texts = reader.data_of_next(4);
        texts.retain(|text| text != "live");
        assert_eq!(texts, ["first", "captured", "captured, too"]);
    }
    for hub in &nodes.hubs {
        assert_eq!(hub.resume(PATH, &first).data_of_next(2), ["captured", "captured, too"]);
        let history = hub.get("/api/v1/channels/project.42/events").assert_status(200).json();
        assert_eq!(history["events"][1]["data"], "captured");
        assert_eq!(history["events"][1]["event"], serde_json::Value::Null);
    }
}

#[test]
fn messages_of_python_published_while_a_client_was_away_are_delivered_later() {
    let nodes = TwoNodes::start(&CAPTURE);
    let before = nodes.hubs[0].publish("project.123", "before");
    run_python_publisher("redis-5", &nodes.redis);
    let mut reader = nodes.hubs[1].resume("/api/v1/events/project.123", &before);
    assert_python_messages(&mut reader);
    let middle = reader.last_event_id().to_owned();
    run_python_publisher("redis-8", &nodes.redis);
    assert_python_messages(&mut reader);
    assert_python_messages(&mut nodes.hubs[0].resume("/api/v1/events/project.123", &middle));
}

#[test]
fn capture_continues_at_another_node_after_the_capturing_one_was_killed() {
    let mut nodes = TwoNodes::start(&CAPTURE);
    let first = nodes.hubs[0].publish(CHANNEL, "first");
    let mut sent = 0;
    for _round in 0..3 {
        let capturing_node = nodes.capturing_node();
        for number in sent..sent + 300 {
            if number == sent + 100 {
                nodes.kill(capturing_node);
            }
            nodes.message(CHANNEL, &number.to_string());
        }
        sent += 300;
        nodes.start_again(capturing_node);
    }
    for hub in &nodes.hubs {
        let mut reader = hub.resume(PATH, &first);
        let texts = std::iter::repeat_with(|| reader.data()).filter(|text| text != "probe");
        assert_eq!(texts.take(sent).collect::<Vec<_>>(), numbers(0..sent));
    }
}

#[test]
fn new_node_leaves_the_lease_to_a_node_that_received_more_messages() {
    let mut nodes = TwoNodes::start(&[CAPTURE[0], ("TIDINGS_REDIS_LEASE", "2s")]);
    let first = nodes.hubs[0].publish(CHANNEL, "first");
    let capturing_node = nodes.capturing_node();
    nodes.kill(capturing_node);
    nodes.message(CHANNEL, "heard by one");
    // The lease is free for the new node; the other node has not asked for it yet.
    let others = &nodes.hubs[1 - capturing_node];
    others.signal(Signal::STOP);
    eventually("the lease has expired", || {
        nodes.redis.command(&["EXISTS", "{tidings}:capture:lease"]).integer() == 0
    });
    let new = nodes.start_node();
    eventually("the node has asked for the lease", || {
        nodes.redis.command(&["EXISTS", "{tidings}:capture:free"]).integer() == 1
    });
    others.signal(Signal::CONT);
    new.wait_until_ready();
    nodes.message(CHANNEL, "heard by both");
    let mut texts = new.resume(PATH, &first).data_of_next(3);
    texts.retain(|text| text != "probe");
    assert_eq!(texts, ["heard by one", "heard by both"]);
}

#[test]
fn paused_capturing_node_appends_nothing_twice_when_it_continues() {
    let nodes = TwoNodes::start(&CAPTURE);
    let capturing_node = nodes.capturing_node();
    let other = &nodes.hubs[1 - capturing_node];
    eventually("the other node has the message that found the capturing node", || {
        other.get("/api/v1/channels/project.42/events?last=1").text().contains("probe")
    });
    let mut reader = other.open_stream(PATH);
    for number in 0..200 {
        if number == 100 {
            nodes.hubs[capturing_node].signal(Signal::STOP);
        }
        nodes.message(CHANNEL, &number.to_string());
    }
    assert_eq!(reader.data_of_next(200), numbers(0..200));
    nodes.hubs[capturing_node].signal(Signal::CONT);
    nodes.wait_until_ready();
    for number in numbers(200..300) {
        nodes.message(CHANNEL, &number);
    }
    assert_eq!(reader.data_of_next(100), numbers(200..300));
    let mut back = nodes.hubs[capturing_node].resume(PATH, reader.last_event_id());
    nodes.message(CHANNEL, "last");
    assert_eq!((reader.data(), back.data()), ("last".to_owned(), "last".to_owned()));
}

#[test]
fn rolling_deploy_loses_no_message() {
    let mut nodes = TwoNodes::start(&CAPTURE);
    let first = nodes.hubs[0].publish(CHANNEL, "first");
    for round in 0..4 {
        nodes.message(CHANNEL, &(2 * round).to_string());
        nodes.terminate(round % 2);
        nodes.message(CHANNEL, &(2 * round + 1).to_string());
        nodes.start_again(round % 2);
    }
    // A stream would wait for a lost message for ever.
    eventually("every message is captured", || nodes.hubs[0].stored(CHANNEL).len() > 8);
    assert_eq!(nodes.hubs[0].resume(PATH, &first).data_of_next(8), numbers(0..8));
}

#[test]
fn node_that_loses_its_pubsub_connection_leaves_capture_to_another() {
    let nodes = TwoNodes::start(&CAPTURE);
    let first = nodes.hubs[0].publish(CHANNEL, "first");
    for number in 0..200 {
        nodes.message(CHANNEL, &number.to_string());
        if number % 40 == 20 {
            // The connections of the two nodes in turn; the first has reconnected before the second is closed.
            nodes.close_pubsub_connection(0);
            nodes.wait_until_ready();
        }
    }
    assert_eq!(nodes.hubs[1].resume(PATH, &first).data_of_next(200), numbers(0..200));
}

#[test]
fn captured_messages_survive_a_restart_of_a_durable_redis() {
    let nodes = TwoNodes::over(RedisServer::start_durable(), &CAPTURE);
    let mut readers = nodes.open_streams(PATH);
    nodes.message(CHANNEL, "before");
    assert_each_reads(&mut readers, &["before"]);
    nodes.redis.restart();
    nodes.wait_until_ready();
    eventually("a node receives a message", || {
        nodes.message(CHANNEL, "after");
        nodes.hubs[0].stored(CHANNEL).len() > 1
    });
    assert_each_reads(&mut readers, &["after"]);
}

#[test]
fn unfit_message_is_not_captured_and_blocks_no_other() {
    let mut nodes = TwoNodes::start(&[&CAPTURE[..], &[("TIDINGS_LIMITS_EVENT_BYTES", "100")]].concat());
    let mut readers = nodes.open_streams(PATH);
    nodes.message(CHANNEL, &"x".repeat(101));
    nodes.message(CHANNEL, "fit");
    nodes.message(CHANNEL, &"x".repeat(5 << 20));
    nodes.message(CHANNEL, "fit, too");
    assert_each_reads(&mut readers, &["fit", "fit, too"]);
    let capturing_node = nodes.capturing_node();
    nodes.kill(capturing_node);
    nodes.message(CHANNEL, &"x".repeat(101));
    nodes.message(CHANNEL, "last");
    assert_eq!(readers[1 - capturing_node].data_of_next(2), ["probe", "last"]);
}

/// Injects a fault into one of three nodes, and waits until the node has recovered.
fn inject_fault(kind: usize, number: usize, nodes: &mut RedisNodes<3>) {
    match kind {
        0 => {
            nodes.kill(number);
            nodes.start_again(number);
        }
        1 => {
            nodes.terminate(number);
            nodes.start_again(number);
        }
        2 => {
            nodes.hubs[number].signal(Signal::STOP);
            let others = [(number + 1) % 3, (number + 2) % 3].map(|other| &nodes.hubs[other]);
            let captured = || others.iter().map(|hub| hub.metric(CAPTURED)).sum::<f64>();
            let before = captured();
            eventually("the other nodes capture", || captured() > before);
            nodes.hubs[number].signal(Signal::CONT);
        }
        _ => nodes.close_pubsub_connection(number),
    }
    nodes.wait_until_ready();
}

#[test]
fn faults_of_one_node_after_the_other_lose_and_duplicate_no_message() {
    const ROUNDS: usize = 9;
    let seed = std::env::var("TIDINGS_CHAOS_SEED")
        .map_or_else(|_| rand::random::<u64>(), |seed| seed.parse().unwrap());
    println!("TIDINGS_CHAOS_SEED={seed}");
    let mut nodes = RedisNodes::<3>::start(&CAPTURE);
    let first = nodes.hubs[0].publish(CHANNEL, "first");
    let (sent, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let mut connection = nodes.redis.connect();
    thread::scope(|threads| {
        threads.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                let number = sent.fetch_add(1, Ordering::SeqCst);
                connection.command(&["PUBLISH", CHANNEL, &number.to_string()]);
                // A node of a debug build cannot receive messages faster than this.
                thread::sleep(Duration::from_micros(300));
            }
        });
        for round in 0..ROUNDS {
            let dice = usize::try_from((seed >> (6 * round)) & 63).unwrap();
            let (kind, number) = (dice / 3 % 4, dice % 3);
            println!("inject_fault {kind} for node {number} at message {}", sent.load(Ordering::SeqCst));
            inject_fault(kind, number, &mut nodes);
            // Messages that only two failed nodes received are lost, so the first fault has to be over.
            let sent = sent.load(Ordering::SeqCst);
            eventually("every message is captured", || {
                usize::try_from(nodes.redis.command(&["XLEN", "{tidings}:log"]).integer()).unwrap() > sent
            });
        }
        is_over.store(true, Ordering::SeqCst);
    });
    let sent = sent.load(Ordering::SeqCst);
    assert!(sent > 100, "{sent} messages are no test");
    for hub in &nodes.hubs {
        assert_eq!(hub.resume(PATH, &first).data_of_next(sent), numbers(0..sent));
    }
}

/// A connection subscribed to a channel of Redis, as that of another program.
fn subscriber(redis: &RedisServer, channel: &str) -> RespConnection {
    let mut connection = redis.connect();
    connection.command(&["SUBSCRIBE", channel]);
    connection
}

#[track_caller]
fn expect_message(subscriber: &mut RespConnection, text: &str) {
    let parts = subscriber.reply().list();
    assert_eq!(parts.last(), Some(&RespReply::Text(text.to_owned())));
}

#[test]
fn mirrored_events_reach_redis_subscribers_and_clients_of_the_hub_once() {
    for settings in [MIRROR.to_vec(), [&MIRROR[..], &CAPTURE].concat()] {
        let nodes = TwoNodes::start(&settings);
        let mut readers = open_all(&nodes, [PATH, "/api/v1/events/project.*"]);
        nodes.wait_for_subscriptions(if settings.len() == 1 { [(1, 1); 2] } else { [(0, 1); 2] });
        let mut old = subscriber(&nodes.redis, "project.42");
        for number in 0..20 {
            let (mirrored, message) = (format!("mirrored {number}"), format!("message {number}"));
            nodes.hubs[number % 2].publish("project.42", &mirrored);
            expect_message(&mut old, &mirrored);
            nodes.message(CHANNEL, &message);
            expect_message(&mut old, &message);
            for reader in &mut readers {
                let mut texts = reader.data_of_next(2);
                texts.sort();
                assert_eq!(texts, [message.clone(), mirrored.clone()]);
            }
        }
        nodes.hubs[0].post("/api/v1/events/project.42?store=false", "not stored").assert_status(200);
        expect_message(&mut old, "not stored");
        assert_each_reads(&mut readers, &["not stored"]);
        nodes.hubs[0].publish("file.1", "not listed");
        nodes.hubs[0].publish("project.42", "last");
        expect_message(&mut old, "last");
        assert_each_reads(&mut readers, &["last"]);
    }
}

#[test]
fn event_of_several_channels_is_mirrored_to_each_listed_one() {
    let nodes = TwoNodes::start(&MIRROR);
    let mut readers = nodes.open_streams("/api/v1/events?channel=project.1&channel=project.2&channel=file.1");
    nodes.wait_for_subscriptions([(3, 0); 2]);
    let mut old = nodes.redis.connect();
    old.command(&["PSUBSCRIBE", "*"]);
    let channels = serde_json::json!({"channels": ["project.1", "file.1", "project.2"], "data": "once"});
    nodes.hubs[0].publish_batch([channels]);
    let mut heard = Vec::new();
    while heard.len() < 2 {
        let parts: Vec<String> = old.reply().list().iter().map(RespReply::text).collect();
        heard.extend((!parts[2].starts_with('{')).then(|| (parts[2].clone(), parts[3].clone())));
    }
    assert_eq!(heard, ["project.1", "project.2"].map(|channel| (channel.to_owned(), "once".to_owned())));
    nodes.message("project.1", "of another");
    assert_each_reads(&mut readers, &["once", "of another"]);
}

#[test]
fn denied_mirror_does_not_keep_an_event_out_of_the_log() {
    let redis = RedisServer::start();
    let rules = ["resetchannels", "on", ">p", "~{tidings}:*", "&{tidings}:*", "+@all"];
    redis.command(&[&["ACL", "SETUSER", "hub"], &rules[..]].concat());
    let url = redis.url().replace("redis://", "redis://hub:p@");
    let hub = TestHub::with_redis_at(&url, &[MIRROR[0], ("TIDINGS_REDIS_LISTEN", "")]);
    hub.wait_until_ready();
    let mut reader = hub.open_stream(PATH);
    hub.assert_delivers("project.42", "stored", &mut reader);
    hub.post("/api/v1/events/project.42?store=false", "not stored").assert_status(200);
    assert_eq!(reader.data(), "not stored");
    eventually("the denied mirror is counted", || hub.metric("tidings_mirror_denied_total") == 2.0);
}

#[test]
fn repeated_publish_is_mirrored_once() {
    let nodes = TwoNodes::start(&MIRROR);
    let mut old = subscriber(&nodes.redis, "project.42");
    for _repeat in 0..2 {
        nodes.hubs[0].request("POST", PATH, &[("Idempotency-Key", "k")], b"once").assert_status(200);
    }
    nodes.hubs[1].publish("project.42", "behind it");
    expect_message(&mut old, "once");
    expect_message(&mut old, "behind it");
}

#[test]
fn messages_are_captured_once_though_redis_loses_the_lease_and_the_capture_position() {
    let nodes = TwoNodes::start(&CAPTURE);
    let mut readers = nodes.open_streams(PATH);
    for key in ["place", "lease", "free"] {
        let texts = [format!("before loss of {key}"), format!("after loss of {key}")];
        nodes.message(CHANNEL, &texts[0]);
        assert_each_reads(&mut readers, &texts[..1]);
        nodes.redis.command(&["DEL", &format!("{{tidings}}:capture:{key}")]);
        nodes.message(CHANNEL, &texts[1]);
        assert_each_reads(&mut readers, &texts[1..]);
    }
}
