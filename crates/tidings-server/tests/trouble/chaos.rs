//! Random trouble for a while, and then the count: every acknowledged event once, in order, at every reader.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use tidings_protocol::sse::{Item, Parser};

use crate::process::{Directory, Hub};
use crate::redis_server::RedisServer;

use super::{PATH, SOON};

const PUBLISHERS: usize = 4;
const READERS: usize = 6;
const TROUBLE: Duration = Duration::from_secs(12);
/// How long readers may take for the rest.
const PATIENCE: Duration = Duration::from_secs(30);

/// Numbers that follow from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }

    fn millis(&mut self, from: usize, to: usize) -> Duration {
        Duration::from_millis((from + self.below(to - from)) as u64)
    }
}

/// What the threads share.
struct Scene {
    /// Where the nodes listen now.
    authorities: Mutex<Vec<String>>,
    is_over: AtomicBool,
    /// Acknowledged events of each publisher.
    acknowledged: [AtomicUsize; PUBLISHERS],
    /// Publishers that are done.
    done: AtomicUsize,
}

impl Scene {
    fn connect(&self, dice: &mut Dice) -> Option<(TcpStream, String)> {
        let authority = self.authorities.lock().unwrap()[dice.below(3)].clone();
        let socket = TcpStream::connect(&authority).ok()?;
        Some((socket, authority))
    }
}

#[test]
fn acknowledged_events_reach_everyone_once_whatever_fails() {
    let seed =
        std::env::var("TIDINGS_CHAOS_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("TIDINGS_CHAOS_SEED={seed}");
    let redis = RedisServer::start_durable();
    let directories = [Directory::new(), Directory::new(), Directory::new()];
    let start = |number: usize| Hub::with_redis(&directories[number], &redis, &SOON);
    let mut hubs = [0, 1, 2].map(|number| Some(start(number)));
    hubs.iter().flatten().for_each(Hub::until_ready);
    let first = hubs[0].as_ref().unwrap().publish("a", "first");
    let scene = Scene {
        authorities: Mutex::new(hubs.iter().flatten().map(|hub| hub.authority().to_owned()).collect()),
        is_over: AtomicBool::new(false),
        acknowledged: Default::default(),
        done: AtomicUsize::new(0),
    };
    scope(|threads| {
        let scene = &scene;
        for number in 0..PUBLISHERS {
            threads.spawn(move || publish(scene, number, Dice(seed ^ (1 + number as u64))));
        }
        for number in 0..READERS {
            let last_id = first.clone();
            threads.spawn(move || read(scene, last_id, Dice(seed ^ (100 + number as u64))));
        }
        let mut dice = Dice(seed);
        let end = Instant::now() + TROUBLE;
        while Instant::now() < end {
            match dice.below(8) {
                0..=2 => {
                    let number = dice.below(3);
                    // The old one is killed.
                    hubs[number] = None;
                    sleep(dice.millis(0, 300));
                    let hub = hubs[number].insert(start(number));
                    hub.authority().clone_into(&mut scene.authorities.lock().unwrap()[number]);
                }
                3 | 4 => drop(redis.client_kill("normal")),
                5 => drop(redis.client_kill("pubsub")),
                6 => {
                    redis.pause();
                    sleep(dice.millis(300, 1300));
                    redis.resume();
                }
                _ => redis.restart(),
            }
            sleep(dice.millis(50, 500));
        }
        scene.is_over.store(true, Ordering::SeqCst);
    });
    let total: usize = scene.acknowledged.iter().map(|count| count.load(Ordering::SeqCst)).sum();
    println!("{total} events");
    assert!(total > 100, "{total} events are no test");
}

/// Publishes one event after the other, each until it is acknowledged.
fn publish(scene: &Scene, publisher: usize, mut dice: Dice) {
    while !scene.is_over.load(Ordering::SeqCst) {
        let number = scene.acknowledged[publisher].load(Ordering::SeqCst);
        while try_publish(scene, publisher, number, &mut dice) != Some(200) {
            sleep(Duration::from_millis(10));
        }
        scene.acknowledged[publisher].fetch_add(1, Ordering::SeqCst);
        sleep(dice.millis(0, 10));
    }
    scene.done.fetch_add(1, Ordering::SeqCst);
}

/// The status of the answer, if one came.
fn try_publish(scene: &Scene, publisher: usize, number: usize, dice: &mut Dice) -> Option<u16> {
    let (mut socket, authority) = scene.connect(dice)?;
    socket.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let body = format!("{publisher} {number}");
    let request = format!(
        "POST {PATH} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\nIdempotency-Key: {publisher}-{number}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).ok()?;
    std::str::from_utf8(&answer).ok()?.get(9..12)?.parse().ok()
}

/// Reads until it has everything, from one node after the other.
fn read(scene: &Scene, mut last_id: String, mut dice: Dice) {
    let mut next = [0; PUBLISHERS];
    let mut over_at = None;
    loop {
        if scene.done.load(Ordering::SeqCst) == PUBLISHERS {
            let acknowledged = scene.acknowledged.each_ref().map(|count| count.load(Ordering::SeqCst));
            if next == acknowledged {
                return;
            }
            let over_at = *over_at.get_or_insert_with(Instant::now);
            assert!(
                over_at.elapsed() < PATIENCE,
                "{next:?} of {acknowledged:?} came; the last was {last_id}"
            );
        }
        if read_from_one(scene, &mut last_id, &mut next, &mut dice).is_none() {
            sleep(Duration::from_millis(10));
        }
    }
}

/// Reads from a node as long as it likes to.
fn read_from_one(
    scene: &Scene,
    last_id: &mut String,
    next: &mut [usize; PUBLISHERS],
    dice: &mut Dice,
) -> Option<()> {
    let (mut socket, authority) = scene.connect(dice)?;
    socket.set_read_timeout(Some(dice.millis(200, 1500))).ok()?;
    // HTTP/1.0 has no chunks.
    let request = format!("GET {PATH} HTTP/1.0\r\nHost: {authority}\r\nLast-Event-ID: {last_id}\r\n\r\n");
    socket.write_all(request.as_bytes()).ok()?;
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
            break end + 4;
        }
        more(&mut socket, &mut bytes)?;
    };
    if !bytes.starts_with(b"HTTP/1.1 200") && !bytes.starts_with(b"HTTP/1.0 200") {
        return None;
    }
    let mut bytes = bytes.split_off(end);
    let mut parser = Parser::new();
    for _part in 0..1 + dice.below(60) {
        parser.feed(&bytes, &mut |item| take(item, last_id, next, &authority)).unwrap();
        bytes.clear();
        more(&mut socket, &mut bytes)?;
    }
    Some(())
}

/// Reads what comes; none at the end, and where nothing comes.
fn more(socket: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    let mut buffer = [0; 4096];
    let count = socket.read(&mut buffer).ok().filter(|count| *count > 0)?;
    bytes.extend_from_slice(&buffer[..count]);
    Some(())
}

#[track_caller]
fn take(item: Item, last_id: &mut String, next: &mut [usize; PUBLISHERS], node: &str) {
    match item {
        Item::Position(id) => *last_id = id,
        Item::Event(event) if event.name == "tidings.position" || event.name == "tidings.end" => {
            *last_id = event.last_event_id;
        }
        Item::Event(event) => {
            let text = event
                .data
                .split_once(' ')
                .map(|(publisher, number)| (publisher.parse::<usize>(), number.parse::<usize>()));
            let Some((Ok(publisher), Ok(number))) = text else {
                panic!("after {last_id} {node} told {event:?}")
            };
            assert_eq!(
                next[publisher], number,
                "of publisher {publisher}, after {last_id}, from {node}: {event:?}"
            );
            next[publisher] += 1;
            *last_id = event.last_event_id;
        }
        _ => {}
    }
}
