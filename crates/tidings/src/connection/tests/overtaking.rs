//! Each subscribed event arrives once, with overtaking, reconnects, trims and restarts in between.

use std::{path::PathBuf, sync::Arc, time::Duration};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tidings_log::{Environment, NewEntry, TransientEvent, testing::seeded};
use tidings_protocol::Priority;

use super::super::*;
use super::model::{ClientModel, LogModel, ModelEvent};
use super::{TestWorld, channel, connect, open_log, read, subscriptions};
use crate::config::{Durability, LogSettings};

const CHANNELS: [&str; 5] = ["a", "b", "c.x", "c.y", "d:z"];
const AUDIENCES: [&[&str]; 7] =
    [&["a"], &["a", "b"], &["c.*"], &["a", "c.**"], &["**"], &["b", "c.x", "c.*"], &["d.z", "d:z"]];

#[derive(Debug, Clone)]
struct Shape {
    channels: Vec<&'static str>,
    priority: Priority,
    key: Option<u8>,
    ttl: Option<u64>,
    padding: usize,
}

#[derive(Debug, Clone)]
enum OvertakingOp {
    Publish(Vec<Shape>),
    Repeat(Shape, usize),
    PublishTransient(usize),
    Poll {
        client: usize,
        is_pressed: bool,
    },
    /// Events are published while a page loads.
    SlowPoll {
        client: usize,
        is_pressed: bool,
        meanwhile: Vec<Shape>,
    },
    Drain(usize),
    Reconnect(usize),
    Pass(u64),
    Restart,
}

fn shape() -> impl Strategy<Value = Shape> {
    let priority = prop_oneof![
        1 => Just(Priority::Low),
        6 => Just(Priority::Normal),
        2 => Just(Priority::High),
        1 => Just(Priority::Critical),
    ];
    let channels = prop::sample::subsequence(CHANNELS.to_vec(), 1..=3);
    let key = prop::option::weighted(0.3, 0_u8..3);
    let ttl = prop::option::weighted(0.15, 1_u64..500);
    let padding = prop_oneof![8 => 0_usize..20, 1 => 0_usize..9000];
    (channels, priority, key, ttl, padding).prop_map(|(channels, priority, key, ttl, padding)| Shape {
        channels,
        priority,
        key,
        ttl,
        padding,
    })
}

fn act() -> impl Strategy<Value = OvertakingOp> {
    let client = 0_usize..3;
    prop_oneof![
        8 => prop::collection::vec(shape(), 1..12).prop_map(OvertakingOp::Publish),
        1 => (shape(), 20_usize..400).prop_map(|(shape, times)| OvertakingOp::Repeat(shape, times)),
        2 => (0..CHANNELS.len()).prop_map(OvertakingOp::PublishTransient),
        8 => (client.clone(), any::<bool>())
            .prop_map(|(client, is_pressed)| OvertakingOp::Poll { client, is_pressed }),
        2 => (client.clone(), any::<bool>(), prop::collection::vec(shape(), 1..12))
            .prop_map(|(client, is_pressed, meanwhile)| OvertakingOp::SlowPoll { client, is_pressed, meanwhile }),
        3 => client.clone().prop_map(OvertakingOp::Drain),
        3 => client.prop_map(OvertakingOp::Reconnect),
        1 => (1_u64..600).prop_map(OvertakingOp::Pass),
        1 => Just(OvertakingOp::Restart),
    ]
}

#[derive(Debug, Clone)]
struct Story {
    seed: u64,
    is_on_disk: bool,
    events_max: u64,
    cache_bytes: u64,
    audiences: [usize; 3],
    /// Bytes after which each next connection breaks.
    cuts: Vec<usize>,
    acts: Vec<OvertakingOp>,
}

fn story() -> impl Strategy<Value = Story> {
    let events_max = prop_oneof![2 => Just(10_000_u64), 3 => 2_u64..80];
    let cache_bytes = prop_oneof![Just(64_u64 << 20), 0_u64..20_000];
    let cuts = prop::collection::vec(prop_oneof![0_usize..300, 0_usize..20_000], 0..30);
    let acts = prop::collection::vec(act(), 1..60);
    let audiences = prop::array::uniform3(0..AUDIENCES.len());
    (any::<u64>(), prop::bool::weighted(0.3), events_max, cache_bytes, audiences, cuts, acts).prop_map(
        |(seed, is_on_disk, events_max, cache_bytes, audiences, cuts, acts)| Story {
            seed,
            is_on_disk,
            events_max,
            cache_bytes,
            audiences,
            cuts,
            acts,
        },
    )
}

/// A log, its model, and clients on it.
struct OvertakingTest {
    settings: LogSettings,
    directory: Option<PathBuf>,
    environment: Arc<TestWorld>,
    log: Option<Arc<Log>>,
    model: LogModel,
    subscribers: Vec<Place>,
    cuts: std::vec::IntoIter<usize>,
    transient: u64,
}

struct Place {
    client: ClientModel,
    connection: Option<Connection>,
    bytes_left: usize,
}

impl OvertakingTest {
    fn new(story: &Story) -> Self {
        let environment = TestWorld::new(story.seed);
        let directory = story.is_on_disk.then(|| {
            let name = format!("tidings-overtaking-{}-{:016x}", std::process::id(), story.seed);
            std::env::temp_dir().join(name)
        });
        let settings = LogSettings {
            durability: if story.is_on_disk { Durability::Interval } else { Durability::Memory },
            retention_events: story.events_max,
            cache_bytes: story.cache_bytes,
            ..LogSettings::default()
        };
        let log = open_log(&settings, directory.as_deref(), &environment);
        let model =
            LogModel { events_max: story.events_max as usize, now: environment.now(), ..LogModel::default() };
        let mut stage = Self {
            settings,
            directory,
            environment,
            log: Some(log),
            model,
            subscribers: Vec::new(),
            cuts: story.cuts.clone().into_iter(),
            transient: 0,
        };
        for audience in story.audiences {
            let client = ClientModel::new(subscriptions(AUDIENCES[audience]), 0);
            stage.subscribers.push(Place { client, connection: None, bytes_left: usize::MAX });
            stage.connect(stage.subscribers.len() - 1, Start::Now);
        }
        stage
    }

    fn log(&self) -> &Arc<Log> {
        self.log.as_ref().unwrap()
    }

    fn connect(&mut self, client: usize, start: Start) {
        let log = self.log().clone();
        let options = StreamOptions { start, positions: PositionStyle::Id, open_event: false };
        let place = &mut self.subscribers[client];
        let mut connection = connect(&log, place.client.subscriptions.clone(), &options);
        place.client.lost_then = self.model.lost.len();
        let opening = connection.open_frames(Duration::from_secs(1), None);
        place.connection = Some(connection);
        self.send(client, &[opening]);
    }

    fn reconnect(&mut self, client: usize) {
        let place = &mut self.subscribers[client];
        place.connection = None;
        place.bytes_left = self.cuts.next().unwrap_or(usize::MAX);
        place.client.reconnect(&self.model);
        let id = place.client.parser.last_event_id().to_owned();
        // A client whose first stream broke within the first block has no id: it begins with new events.
        if id.is_empty() {
            place.client = ClientModel::new(place.client.subscriptions.clone(), self.model.head());
            self.connect(client, Start::Now);
        } else {
            self.connect(client, Start::After(id));
        }
    }

    /// Sends frames until the connection breaks.
    fn send(&mut self, client: usize, frames: &[Bytes]) {
        let place = &mut self.subscribers[client];
        let bytes = frames.concat();
        let sent = bytes.len().min(place.bytes_left);
        place.client.feed(&self.model, &bytes[..sent]);
        if sent < bytes.len() {
            return self.reconnect(client);
        }
        place.bytes_left -= sent;
    }

    /// Polls a connection once; returns whether it was not idle.
    fn poll(&mut self, client: usize, is_pressed: bool, meanwhile: &[Shape]) -> bool {
        let place = &mut self.subscribers[client];
        let connection = place.connection.as_mut().unwrap();
        let it = &mut place.client;
        (it.is_pressed, it.lost_then) = (is_pressed, self.model.lost.len());
        it.was_pressed |= is_pressed;
        it.was_behind |= is_pressed;
        if is_pressed {
            // Transient events after the head are dropped.
            connection.handle().set_behind(true);
            it.transient.clear();
        }
        let frames = match connection.next_step(is_pressed) {
            ConnectionStep::Send { frames, .. } => frames,
            ConnectionStep::Read(page) => {
                if !meanwhile.is_empty() {
                    self.publish(meanwhile);
                }
                let page = read(self.log(), page);
                self.subscribers[client].connection.as_mut().unwrap().deliver(page, is_pressed)
            }
            ConnectionStep::Idle => {
                connection.handle().set_behind(false);
                return false;
            }
        };
        let bytes: usize = frames.iter().map(Bytes::len).sum();
        assert!(frames.len() <= 1 || bytes <= 64 << 10, "{bytes} bytes in one write");
        self.send(client, &frames);
        true
    }

    fn drain(&mut self, client: usize) {
        while self.poll(client, false, &[]) {}
        let place = &mut self.subscribers[client];
        let keep_alive =
            place.connection.as_ref().unwrap().keep_alive(KeepAliveDue { comment: true, position: true });
        place.client.feed(&self.model, &keep_alive);
        place.client.is_at_head(&self.model);
    }

    fn publish(&mut self, shapes: &[Shape]) {
        let now = self.model.now;
        let mut entries = Vec::new();
        for (shape, offset) in shapes.iter().zip(self.model.head() + 1..) {
            let expires_at = shape.ttl.map(|ttl| now + ttl);
            entries.push(NewEntry {
                channels: shape.channels.iter().map(|name| channel(name)).collect(),
                event: None,
                data: format!("{offset}\n{}", "x".repeat(shape.padding)).into(),
                priority: shape.priority,
                key: shape.key.map(|key| key.to_string().into()),
                published_at: now,
                expires_at,
                idempotency: None,
            });
        }
        self.log().append(entries).unwrap();
        for Shape { channels, priority, key, ttl, .. } in shapes.iter().cloned() {
            let expires_at = ttl.map(|ttl| now + ttl);
            self.model.append(ModelEvent { channels, priority, key, expires_at });
        }
    }

    fn publish_transient(&mut self, channel: &str) {
        self.transient += 1;
        let mut frame = Vec::new();
        tidings_protocol::sse::write_event_lines(&mut frame, None, &format!("u{}", self.transient));
        tidings_protocol::sse::write_end(&mut frame);
        let transient = TransientEvent { after: self.model.head(), frame: frame.into() };
        for place in &mut self.subscribers {
            let wants = place.client.subscriptions.iter().any(|it| it.matches(channel));
            let handle = place.connection.as_ref().unwrap().handle();
            if wants && handle.push_transient(&transient) {
                place.client.transient.insert(self.transient, transient.after);
            }
        }
    }

    fn restart(&mut self) {
        if self.directory.is_none() {
            return;
        }
        self.subscribers.iter_mut().for_each(|place| place.connection = None);
        self.log = None;
        self.log = Some(open_log(&self.settings, self.directory.as_deref(), &self.environment));
        (0..self.subscribers.len()).for_each(|client| self.reconnect(client));
    }

    fn act(&mut self, act: &OvertakingOp) {
        match act {
            OvertakingOp::Publish(shapes) => self.publish(shapes),
            OvertakingOp::Repeat(shape, times) => self.publish(&vec![shape.clone(); *times]),
            OvertakingOp::PublishTransient(channel) => self.publish_transient(CHANNELS[*channel]),
            OvertakingOp::Poll { client, is_pressed } => {
                self.poll(*client, *is_pressed, &[]);
            }
            OvertakingOp::SlowPoll { client, is_pressed, meanwhile } => {
                self.poll(*client, *is_pressed, meanwhile);
            }
            OvertakingOp::Drain(client) => self.drain(*client),
            OvertakingOp::Reconnect(client) => self.reconnect(*client),
            OvertakingOp::Pass(milliseconds) => {
                self.environment.advance(*milliseconds);
                self.model.now = self.environment.now();
            }
            OvertakingOp::Restart => self.restart(),
        }
    }
}

impl Drop for OvertakingTest {
    fn drop(&mut self) {
        if let Some(directory) = &self.directory {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

#[test]
fn everything_wanted_arrives_once_or_is_told_as_lost() {
    // `PROPTEST_CASES` raises the number of cases.
    let mut runner = TestRunner::new(seeded(Config::default().cases));
    let (gaps, early) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let outcome = runner.run(&story(), |story| {
        let mut stage = OvertakingTest::new(&story);
        story.acts.iter().for_each(|act| stage.act(act));
        (0..stage.subscribers.len()).for_each(|client| stage.drain(client));
        gaps.set(gaps.get() + stage.subscribers.iter().map(|it| it.client.gaps).sum::<usize>());
        early.set(early.get() + stage.subscribers.iter().map(|it| it.client.early).sum::<usize>());
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    assert!(gaps.get() > 0 && early.get() > 0, "{} gaps, {} early", gaps.get(), early.get());
}
