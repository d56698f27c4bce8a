//! Capture of messages of other programs into the log, and the mirror of the log's events to them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use tidings_testkit::{RedisServer, RespConnection, RespReply, SseReader, eventually};

use super::redis_publishers::{ALL, PythonPublisher, until_heard};
use crate::hub::TestHub;

const PATH: &str = "/api/v1/events/project.42";
const CAPTURE: [(&str, &str); 3] = [
    ("TIDINGS_REDIS_CAPTURE", "project.**"),
    ("TIDINGS_REDIS_LEASE", "500ms"),
    ("TIDINGS_LOG_RETENTION_EVENTS", "1000000"),
];
const MIRROR: [(&str, &str); 1] = [("TIDINGS_REDIS_MIRROR", "project.**")];

/// Two capturing nodes over one Redis.
struct CaptureNodes {
    redis: RedisServer,
    hubs: [Option<TestHub>; 2],
    settings: Vec<(&'static str, &'static str)>,
}

impl CaptureNodes {
    fn start(settings: &[(&'static str, &'static str)]) -> Self {
        Self::over(RedisServer::start(), settings)
    }

    fn over(redis: RedisServer, settings: &[(&'static str, &'static str)]) -> Self {
        let hubs = [(); 2].map(|()| Some(TestHub::with_redis(&redis, settings)));
        let nodes = Self { redis, hubs, settings: settings.to_vec() };
        nodes.wait_until_ready();
        nodes
    }

    fn wait_until_ready(&self) {
        self.hubs.iter().flatten().for_each(|hub| hub.wait_until_ready());
    }

    fn hub(&self, number: usize) -> &TestHub {
        self.hubs[number].as_ref().unwrap()
    }

    /// Starts a node again.
    fn start_again(&mut self, number: usize) {
        self.hubs[number] = Some(TestHub::with_redis(&self.redis, &self.settings));
        self.wait_until_ready();
    }

    /// Publishes as another program does.
    fn message(&self, text: &str) {
        self.redis.command(&["PUBLISH", "project.42", text]);
    }

    /// Opens a stream at each node.
    fn readers(&self, path: &str) -> [SseReader; 2] {
        [0, 1].map(|number| {
            let mut reader = self.hub(number).subscribe(path);
            reader.position();
            reader
        })
    }

    /// Returns the number of the node that captures.
    fn capturing_node(&self) -> usize {
        let captured = || [0, 1].map(|number| self.hub(number).metric("tidings_capture_appended_total"));
        let before = captured();
        self.message("who captures");
        let mut capturing_node = None;
        eventually("one of the nodes captures", || {
            let now = captured();
            capturing_node = (0..2).find(|number| now[*number] > before[*number]);
            capturing_node.is_some()
        });
        capturing_node.unwrap()
    }
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[test]
fn captured_message_gets_an_id_and_is_resumed_at_any_node() {
    let nodes = CaptureNodes::start(&CAPTURE);
    let mut readers: Vec<SseReader> =
        [PATH, "/api/v1/events/**"].into_iter().flat_map(|path| nodes.readers(path)).collect();
    // Redis delivers `project.**` to the nodes although no client subscribes to it.
    until_heard(&nodes.redis, [(ALL.0, ALL.1 + 1); 2]);
    let first = nodes.hub(0).publish("project.42", "first");
    nodes.message("captured");
    nodes.redis.command(&["PUBLISH", "other", "live"]);
    nodes.message("captured, too");
    for reader in &mut readers[..2] {
        assert_eq!(reader.data_of_next(3), ["first", "captured", "captured, too"]);
        assert_ne!(reader.last_event_id(), first);
    }
    for reader in &mut readers[2..] {
        let mut texts = reader.data_of_next(4);
        texts.retain(|text| text != "live");
        assert_eq!(texts, ["first", "captured", "captured, too"]);
    }
    for number in 0..2 {
        let mut back = nodes.hub(number).resume(PATH, &first);
        assert_eq!(back.data_of_next(2), ["captured", "captured, too"]);
        let history = nodes.hub(number).get("/api/v1/channels/project.42/events").assert_status(200).json();
        let events = history["events"].as_array().unwrap();
        assert_eq!(events[1]["data"], "captured");
        assert_eq!(events[1]["event"], serde_json::Value::Null);
    }
}

#[test]
fn messages_of_python_published_while_a_client_was_away_are_delivered_later() {
    let nodes = CaptureNodes::start(&CAPTURE);
    let before = nodes.hub(0).publish("project.123", "before");
    let task = PythonPublisher::new();
    task.run("redis-5", &nodes.redis);
    let mut reader = nodes.hub(1).resume("/api/v1/events/project.123", &before);
    task.assert_received(&mut reader);
    let middle = reader.last_event_id().to_owned();
    task.run("redis-8", &nodes.redis);
    task.assert_received(&mut reader);
    task.assert_received(&mut nodes.hub(0).resume("/api/v1/events/project.123", &middle));
}

#[test]
fn capture_continues_at_another_node_after_the_capturing_one_was_killed() {
    let mut nodes = CaptureNodes::start(&CAPTURE);
    let first = nodes.hub(0).publish("project.42", "first");
    let mut sent = 0;
    for _round in 0..3 {
        let capturing_node = nodes.capturing_node();
        for number in sent..sent + 300 {
            if number == sent + 100 {
                nodes.hubs[capturing_node].take().unwrap().kill();
            }
            nodes.message(&number.to_string());
        }
        sent += 300;
        nodes.start_again(capturing_node);
    }
    for number in 0..2 {
        let mut back = nodes.hub(number).resume(PATH, &first);
        let mut texts = Vec::new();
        while texts.len() < sent {
            texts.extend(Some(back.data()).filter(|text| text != "who captures"));
        }
        assert_eq!(texts, numbers(0..sent));
    }
}

#[test]
fn new_node_leaves_the_lease_to_a_node_that_received_more_messages() {
    let mut nodes = CaptureNodes::start(&[CAPTURE[0], ("TIDINGS_REDIS_LEASE", "2s")]);
    let first = nodes.hub(0).publish("project.42", "first");
    let capturing_node = nodes.capturing_node();
    nodes.hubs[capturing_node].take().unwrap().kill();
    nodes.message("heard by one");
    // The lease is free for the new node; the other node has not asked for it yet.
    let others = nodes.hub(1 - capturing_node);
    others.signal(Signal::STOP);
    eventually("the lease has expired", || {
        nodes.redis.command(&["EXISTS", "{tidings}:capture:lease"]).integer() == 0
    });
    let new = TestHub::with_redis(&nodes.redis, &nodes.settings);
    eventually("the node has asked for the lease", || {
        nodes.redis.command(&["EXISTS", "{tidings}:capture:free"]).integer() == 1
    });
    others.signal(Signal::CONT);
    new.wait_until_ready();
    nodes.message("heard by both");
    let mut texts = new.resume(PATH, &first).data_of_next(3);
    texts.retain(|text| text != "who captures");
    assert_eq!(texts, ["heard by one", "heard by both"]);
}

#[test]
fn paused_capturing_node_appends_nothing_twice_when_it_continues() {
    let nodes = CaptureNodes::start(&CAPTURE);
    let capturing_node = nodes.capturing_node();
    let other = nodes.hub(1 - capturing_node);
    eventually("the other node has the message that found the capturing node", || {
        other.get("/api/v1/channels/project.42/events?last=1").text().contains("who captures")
    });
    let mut reader = other.subscribe(PATH);
    reader.position();
    for number in 0..200 {
        if number == 100 {
            nodes.hub(capturing_node).signal(Signal::STOP);
        }
        nodes.message(&number.to_string());
    }
    assert_eq!(reader.data_of_next(200), numbers(0..200));
    nodes.hub(capturing_node).signal(Signal::CONT);
    nodes.wait_until_ready();
    (200..300).for_each(|number| nodes.message(&number.to_string()));
    assert_eq!(reader.data_of_next(100), numbers(200..300));
    let mut back = nodes.hub(capturing_node).resume(PATH, reader.last_event_id());
    nodes.message("last");
    assert_eq!((reader.data(), back.data()), ("last".to_owned(), "last".to_owned()));
}

#[test]
fn rolling_deploy_loses_no_message() {
    let mut nodes = CaptureNodes::start(&CAPTURE);
    let first = nodes.hub(0).publish("project.42", "first");
    for round in 0..4 {
        nodes.message(&(2 * round).to_string());
        nodes.hubs[round % 2].take().unwrap().terminate();
        nodes.message(&(2 * round + 1).to_string());
        nodes.start_again(round % 2);
    }
    assert_eq!(nodes.hub(0).resume(PATH, &first).data_of_next(8), numbers(0..8));
}

#[test]
fn node_that_loses_its_pubsub_connection_leaves_capture_to_another() {
    let nodes = CaptureNodes::start(&CAPTURE);
    let first = nodes.hub(0).publish("project.42", "first");
    for number in 0..200 {
        nodes.message(&number.to_string());
        if number % 40 == 20 {
            // The connections of the two nodes in turn; the first has reconnected before the second is closed.
            let clients = nodes.redis.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).text();
            let id = clients.lines().next().unwrap().split([' ', '=']).nth(1).unwrap();
            assert_eq!(nodes.redis.command(&["CLIENT", "KILL", "ID", id]).integer(), 1);
            eventually("both nodes are subscribed", || {
                nodes.redis.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).text().lines().count() == 2
            });
            nodes.wait_until_ready();
        }
    }
    assert_eq!(nodes.hub(1).resume(PATH, &first).data_of_next(200), numbers(0..200));
}

#[test]
fn captured_messages_survive_a_restart_of_a_durable_redis() {
    let nodes = CaptureNodes::over(RedisServer::start_durable(), &CAPTURE);
    let mut readers = nodes.readers(PATH);
    nodes.message("before");
    readers.iter_mut().for_each(|reader| assert_eq!(reader.data(), "before"));
    nodes.redis.restart();
    nodes.wait_until_ready();
    eventually("a node receives a message", || {
        nodes.message("after");
        let history = nodes.hub(0).get("/api/v1/channels/project.42/events").json();
        history["events"].as_array().is_some_and(|events| events.len() > 1)
    });
    readers.iter_mut().for_each(|reader| assert_eq!(reader.data(), "after"));
}

#[test]
fn unfit_message_is_not_captured_and_blocks_no_other() {
    let mut settings = CAPTURE.to_vec();
    settings.push(("TIDINGS_LIMITS_EVENT_BYTES", "100"));
    let mut nodes = CaptureNodes::start(&settings);
    let mut readers = nodes.readers(PATH);
    nodes.message(&"x".repeat(101));
    nodes.message("fit");
    nodes.message(&"x".repeat(5 << 20));
    nodes.message("fit, too");
    for reader in &mut readers {
        assert_eq!(reader.data_of_next(2), ["fit", "fit, too"]);
    }
    let capturing_node = nodes.capturing_node();
    nodes.hubs[capturing_node].take().unwrap().kill();
    nodes.message(&"x".repeat(101));
    nodes.message("last");
    assert_eq!(readers[1 - capturing_node].data_of_next(2), ["who captures", "last"]);
}

/// Injects a fault into one of three nodes, and waits until the node has recovered.
fn inject_fault(
    kind: usize,
    number: usize,
    hubs: &mut [Option<TestHub>; 3],
    redis: &RedisServer,
    start: &dyn Fn() -> TestHub,
) {
    match kind {
        0 => {
            hubs[number].take().unwrap().kill();
            hubs[number] = Some(start());
        }
        1 => {
            hubs[number].take().unwrap().terminate();
            hubs[number] = Some(start());
        }
        2 => {
            hubs[number].as_ref().unwrap().signal(Signal::STOP);
            let others = [(number + 1) % 3, (number + 2) % 3].map(|other| hubs[other].as_ref().unwrap());
            let captured =
                || others.iter().map(|hub| hub.metric("tidings_capture_appended_total")).sum::<f64>();
            let before = captured();
            eventually("the other nodes capture", || captured() > before);
            hubs[number].as_ref().unwrap().signal(Signal::CONT);
        }
        _ => {
            let pubsub_clients = || redis.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).text();
            let id =
                pubsub_clients().lines().nth(number).unwrap().split([' ', '=']).nth(1).unwrap().to_owned();
            redis.command(&["CLIENT", "KILL", "ID", &id]);
            let cut = format!("id={id} ");
            eventually("three nodes are subscribed", || {
                pubsub_clients().lines().count() == 3 && !pubsub_clients().contains(&cut)
            });
        }
    }
    hubs.iter().flatten().for_each(|hub| hub.wait_until_ready());
}

#[test]
fn faults_of_one_node_after_the_other_lose_and_duplicate_no_message() {
    const ROUNDS: usize = 9;
    let seed = std::env::var("TIDINGS_CHAOS_SEED")
        .map_or_else(|_| rand::random::<u64>(), |seed| seed.parse().unwrap());
    println!("TIDINGS_CHAOS_SEED={seed}");
    let redis = RedisServer::start();
    let start = || TestHub::with_redis(&redis, &CAPTURE);
    let mut hubs = [(); 3].map(|()| Some(start()));
    hubs.iter().flatten().for_each(|hub| hub.wait_until_ready());
    let first = hubs[0].as_ref().unwrap().publish("project.42", "first");
    let (sent, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|threads| {
        threads.spawn(|| {
            let mut connection = redis.connect();
            while !is_over.load(Ordering::SeqCst) {
                let number = sent.fetch_add(1, Ordering::SeqCst);
                connection.command(&["PUBLISH", "project.42", &number.to_string()]);
                // A node of a debug build cannot receive messages faster than this.
                thread::sleep(Duration::from_micros(300));
            }
        });
        for round in 0..ROUNDS {
            let dice = usize::try_from((seed >> (6 * round)) & 63).unwrap();
            let (kind, number) = (dice / 3 % 4, dice % 3);
            println!("inject_fault {kind} for node {number} at message {}", sent.load(Ordering::SeqCst));
            inject_fault(kind, number, &mut hubs, &redis, &start);
            // Messages that only two failed nodes received are lost, so the first fault has to be over.
            let sent = sent.load(Ordering::SeqCst);
            eventually("every message is captured", || {
                usize::try_from(redis.command(&["XLEN", "{tidings}:log"]).integer()).unwrap() > sent
            });
        }
        is_over.store(true, Ordering::SeqCst);
    });
    let sent = sent.load(Ordering::SeqCst);
    assert!(sent > 100, "{sent} messages are no test");
    for hub in hubs.iter().flatten() {
        let mut back = hub.resume(PATH, &first);
        for number in 0..sent {
            assert_eq!(back.data(), number.to_string());
        }
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
        let nodes = CaptureNodes::start(&settings);
        let mut readers: Vec<SseReader> =
            [PATH, "/api/v1/events/project.*"].into_iter().flat_map(|path| nodes.readers(path)).collect();
        until_heard(&nodes.redis, if settings.len() == 1 { [(1, 1); 2] } else { [(0, 1); 2] });
        let mut old = subscriber(&nodes.redis, "project.42");
        for number in 0..20 {
            let (mirrored, message) = (format!("mirrored {number}"), format!("message {number}"));
            nodes.hub(number % 2).publish("project.42", &mirrored);
            expect_message(&mut old, &mirrored);
            nodes.message(&message);
            expect_message(&mut old, &message);
            for reader in &mut readers {
                let mut texts = reader.data_of_next(2);
                texts.sort();
                assert_eq!(texts, [message.clone(), mirrored.clone()]);
            }
        }
        nodes.hub(0).post("/api/v1/events/project.42?store=false", "not stored").assert_status(200);
        expect_message(&mut old, "not stored");
        readers.iter_mut().for_each(|reader| assert_eq!(reader.data(), "not stored"));
        nodes.hub(0).publish("file.1", "not listed");
        nodes.hub(0).publish("project.42", "last");
        expect_message(&mut old, "last");
        readers.iter_mut().for_each(|reader| assert_eq!(reader.data(), "last"));
    }
}

#[test]
fn event_of_several_channels_is_mirrored_to_each_listed_one() {
    let nodes = CaptureNodes::start(&MIRROR);
    let mut readers = nodes.readers("/api/v1/events?channel=project.1&channel=project.2&channel=file.1");
    until_heard(&nodes.redis, [(3, 0); 2]);
    let mut old = nodes.redis.connect();
    old.command(&["PSUBSCRIBE", "*"]);
    let channels = serde_json::json!({"channels": ["project.1", "file.1", "project.2"], "data": "once"});
    nodes.hub(0).publish_batch([channels]);
    let mut heard = Vec::new();
    while heard.len() < 2 {
        let parts: Vec<String> = old.reply().list().iter().map(RespReply::text).collect();
        heard.extend((!parts[2].starts_with('{')).then(|| (parts[2].clone(), parts[3].clone())));
    }
    assert_eq!(heard, ["project.1", "project.2"].map(|channel| (channel.to_owned(), "once".to_owned())));
    nodes.redis.command(&["PUBLISH", "project.1", "of another"]);
    for reader in &mut readers {
        assert_eq!(reader.data_of_next(2), ["once", "of another"]);
    }
}

#[test]
fn denied_mirror_does_not_keep_an_event_out_of_the_log() {
    let redis = RedisServer::start();
    let rules = ["resetchannels", "on", ">p", "~{tidings}:*", "&{tidings}:*", "+@all"];
    redis.command(&[&["ACL", "SETUSER", "hub"], &rules[..]].concat());
    let url = redis.url().replace("redis://", "redis://hub:p@");
    let mut settings = MIRROR.to_vec();
    settings.push(("TIDINGS_REDIS_LISTEN", ""));
    let hub = TestHub::with_redis_at(&url, &settings);
    hub.wait_until_ready();
    let mut reader = hub.subscribe(PATH);
    reader.position();
    hub.publish("project.42", "stored");
    assert_eq!(reader.data(), "stored");
    hub.post("/api/v1/events/project.42?store=false", "not stored").assert_status(200);
    assert_eq!(reader.data(), "not stored");
    eventually("the denied mirror is counted", || hub.metric("tidings_mirror_denied_total") == 2.0);
}

#[test]
fn repeated_publish_is_mirrored_once() {
    let nodes = CaptureNodes::start(&MIRROR);
    let mut old = subscriber(&nodes.redis, "project.42");
    for _repeat in 0..2 {
        nodes.hub(0).request("POST", PATH, &[("Idempotency-Key", "k")], b"once").assert_status(200);
    }
    nodes.hub(1).publish("project.42", "behind it");
    expect_message(&mut old, "once");
    expect_message(&mut old, "behind it");
}

#[test]
fn messages_are_captured_once_though_redis_loses_the_lease_and_the_capture_position() {
    let nodes = CaptureNodes::start(&CAPTURE);
    let mut readers = [0, 1].map(|number| nodes.hub(number).subscribe(PATH));
    readers.iter_mut().for_each(|reader| drop(reader.position()));
    let keys = ["{tidings}:capture:place", "{tidings}:capture:lease", "{tidings}:capture:free"];
    for (number, key) in keys.into_iter().enumerate() {
        nodes.message(&format!("before {number}"));
        for reader in &mut readers {
            assert_eq!(reader.data(), format!("before {number}"));
        }
        nodes.redis.command(&["DEL", key]);
        nodes.message(&format!("after {number}"));
        for reader in &mut readers {
            assert_eq!(reader.data(), format!("after {number}"));
        }
    }
}
