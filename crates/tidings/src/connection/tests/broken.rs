//! Connections on the replica of a log whose broker loses entries, begins epochs, or knows more than the replica.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tidings_log::{EpochRow, LostChannels, ReplicatedEntry, testing::seeded};
use tidings_protocol::sse::{Parser, StreamItem};

use super::{super::*, TestWorld, connect, new_entry, read, subscriptions, write_all};
use crate::config::LogSettings;

const FIRST: u64 = 0x11;
const SECOND: u64 = 0x22;
const CACHE_BYTES: u64 = 64 << 20;

fn row(epoch: u64, begins_after: u64, lost: LostChannels) -> EpochRow {
    EpochRow { epoch, begins_after, lost }
}

fn of(names: &[&str]) -> LostChannels {
    LostChannels::Channels(names.iter().map(ToString::to_string).collect())
}

/// A replica that has received nothing from its broker.
fn blind(cache_bytes: u64) -> Arc<Log> {
    let settings = LogSettings { cache_bytes, ..LogSettings::default() };
    Arc::new(Log::replica(&settings, None, TestWorld::new(7)).unwrap())
}

/// A replica whose broker has begun its first epoch.
fn replica(epoch: u64, cache_bytes: u64) -> Arc<Log> {
    let log = blind(cache_bytes);
    log.install_epochs(vec![row(epoch, 0, LostChannels::None)]);
    log.barriers().complete(log.barriers().begin());
    log
}

/// The broker begins the second epoch after an offset.
fn begin_second(log: &Log, begins_after: u64, lost: &[&str]) {
    log.install_epochs(vec![row(FIRST, 0, LostChannels::None), row(SECOND, begins_after, of(lost))]);
}

fn tag(offset: u64, epoch: u64) -> Tag {
    Tag((offset * 1000 + epoch) as u32)
}

fn place(log: &Log, epoch: u64, events: &[(u64, &str)]) {
    let placed = |(offset, channel): &(u64, &str)| ReplicatedEntry {
        offset: *offset,
        epoch: Epoch(epoch),
        tag: tag(*offset, epoch),
        before: Tag(0),
        entry: new_entry(channel, &format!("{offset}@{epoch:x}")),
    };
    log.apply(events.iter().map(placed).collect()).unwrap();
}

fn id(epoch: u64, offset: u64) -> String {
    EventId::new(Epoch(epoch), offset, tag(offset, epoch)).to_string()
}

/// All frames that a connection can send now, as text.
fn sent(connection: &mut Connection) -> String {
    let frames = write_all(connection);
    connection.handle().set_behind(false);
    String::from_utf8(frames.concat()).unwrap()
}

fn open(log: &Arc<Log>, subscriptions: Arc<[Subscription]>, start: Start) -> (Connection, Bytes) {
    let options = StreamOptions { start, positions: PositionStyle::Id, open_event: false };
    let mut connection = connect(log, subscriptions, &options);
    let opening = connection.open_frames(Duration::from_secs(1), None);
    (connection, opening)
}

fn opened(log: &Arc<Log>, channels: &[&str], start: Start) -> (Connection, String) {
    let (connection, opening) = open(log, subscriptions(channels), start);
    (connection, String::from_utf8(opening.to_vec()).unwrap())
}

fn gap(channels: &str, reason: &str, requested: &str, resumed: &str) -> String {
    format!(
        "event: tidings.gap\ndata: {{\"channels\":[{channels}],\"reason\":\"{reason}\",\"requested\":\"{requested}\",\"resumedAt\":\"{resumed}\"}}\nid: {resumed}\n\n"
    )
}

#[test]
fn a_stream_waits_without_an_id_until_the_broker_was_asked() {
    let log = blind(CACHE_BYTES);
    let (mut connection, opening) = opened(&log, &["a"], Start::Now);
    assert_eq!(opening, "retry: 1000\n: tidings\n");
    assert_eq!(sent(&mut connection), "");
    for comment in [false, true] {
        assert_eq!(connection.keep_alive(KeepAliveDue { comment, position: true }), ": keep-alive\n");
    }
    let barrier = log.barriers().begin();
    log.install_epochs(vec![row(FIRST, 0, LostChannels::None)]);
    place(&log, FIRST, &[(1, "a"), (2, "a")]);
    assert_eq!(sent(&mut connection), "");
    log.barriers().complete(barrier);
    assert_eq!(sent(&mut connection), format!("id: {}\n\n", id(FIRST, 2)));
    place(&log, FIRST, &[(3, "a")]);
    assert_eq!(sent(&mut connection), format!("data: 3@11\nid: {}\n\n", id(FIRST, 3)));
}

#[test]
fn a_stream_that_waits_is_fed_nothing() {
    let log = blind(CACHE_BYTES);
    let (mut connection, _) = opened(&log, &["a"], Start::Now);
    let barrier = log.barriers().begin();
    log.install_epochs(vec![row(FIRST, 0, LostChannels::None)]);
    place(&log, FIRST, &[(1, "a")]);
    let newer = log.entries_after(0, 0, 9).entries.unwrap();
    assert!(!connection.accept_live(&newer[0], log.now()));
    log.barriers().complete(barrier);
    assert_eq!(sent(&mut connection), format!("id: {}\n\n", id(FIRST, 1)));
}

#[test]
fn an_id_that_a_lagging_node_does_not_know_yet_is_no_gap() {
    let log = replica(FIRST, CACHE_BYTES);
    place(&log, FIRST, &[(1, "a"), (2, "a")]);
    let (request, requested) = std::sync::mpsc::sync_channel(1);
    log.barriers().on_request(Box::new(move || request.try_send(()).unwrap()));
    let (mut connection, opening) = opened(&log, &["a"], Start::After(id(FIRST, 4)));
    assert_eq!((opening.as_str(), sent(&mut connection).as_str()), ("retry: 1000\n: tidings\n", ""));
    requested.try_recv().unwrap();
    let barrier = log.barriers().begin();
    place(&log, FIRST, &[(3, "a"), (4, "a"), (5, "a")]);
    log.barriers().complete(barrier);
    let (four, five) = (id(FIRST, 4), id(FIRST, 5));
    let expected = format!("id: {four}\n\ndata: 5@11\nid: {five}\n\n");
    assert_eq!(sent(&mut connection), expected);
}

#[test]
fn an_id_that_the_broker_does_not_know_either_is_ahead() {
    let log = replica(FIRST, CACHE_BYTES);
    place(&log, FIRST, &[(1, "a")]);
    let (mut connection, _) = opened(&log, &["a"], Start::After(id(FIRST, 4)));
    log.barriers().complete(log.barriers().begin());
    assert_eq!(sent(&mut connection), gap("\"a\"", "ahead", &id(FIRST, 4), &id(FIRST, 1)));
    let (mut foreign, _) = opened(&log, &["a"], Start::After(id(SECOND, 1)));
    assert_eq!(sent(&mut foreign), "");
    log.barriers().complete(log.barriers().begin());
    let resumed = EventId::new(Epoch(FIRST), 0, Tag(0)).to_string();
    let expected = gap("\"a\"", "epoch", &id(SECOND, 1), &resumed);
    assert!(sent(&mut foreign).starts_with(&expected));
}

#[test]
fn an_open_stream_moves_to_a_new_epoch_without_a_gap_where_nothing_was_lost() {
    let log = replica(FIRST, CACHE_BYTES);
    let (mut connection, _) = opened(&log, &["a"], Start::Now);
    place(&log, FIRST, &[(1, "a")]);
    sent(&mut connection);
    begin_second(&log, 1, &["b"]);
    assert_eq!(connection.position().to_string(), id(FIRST, 1), "it has not looked yet");
    assert_eq!(sent(&mut connection), "");
    let position = EventId::new(Epoch(SECOND), 1, tag(1, FIRST));
    assert_eq!(connection.position(), position);
    place(&log, SECOND, &[(2, "a")]);
    assert_eq!(sent(&mut connection), format!("data: 2@22\nid: {}\n\n", id(SECOND, 2)));
}

#[test]
fn an_open_stream_is_told_what_an_epoch_began_without_before_it_goes_on() {
    let log = replica(FIRST, CACHE_BYTES);
    let (mut connection, _) = opened(&log, &["a.*", "b"], Start::Now);
    place(&log, FIRST, &[(1, "b"), (2, "b")]);
    sent(&mut connection);
    begin_second(&log, 2, &["a.x", "c"]);
    place(&log, SECOND, &[(3, "b")]);
    let resumed = EventId::new(Epoch(SECOND), 2, tag(2, FIRST)).to_string();
    let gaps_reported_to = gap("\"a.x\"", "epoch", &id(FIRST, 2), &resumed);
    assert_eq!(sent(&mut connection), format!("{gaps_reported_to}data: 3@22\nid: {}\n\n", id(SECOND, 3)));
    assert_eq!(sent(&mut connection), "");
}

#[test]
fn a_cursor_above_an_end_that_was_cut_off_goes_down_and_is_told_once() {
    let log = replica(FIRST, CACHE_BYTES);
    let (mut connection, _) = opened(&log, &["a"], Start::Now);
    let (mut quiet, _) = opened(&log, &["quiet"], Start::Now);
    place(&log, FIRST, &[(1, "a"), (2, "a"), (3, "a")]);
    assert!(sent(&mut connection).ends_with(&format!("id: {}\n\n", id(FIRST, 3))));
    assert_eq!(sent(&mut quiet), "");
    assert_eq!(log.truncate_after(1).len(), 2);
    begin_second(&log, 1, &["a"]);
    place(&log, SECOND, &[(2, "a"), (3, "quiet"), (4, "a")]);
    let resumed = EventId::new(Epoch(SECOND), 1, tag(1, FIRST)).to_string();
    let gaps_reported_to = gap("\"a\"", "epoch", &id(FIRST, 3), &resumed);
    let (two, four) = (id(SECOND, 2), id(SECOND, 4));
    let expected = format!("{gaps_reported_to}data: 2@22\nid: {two}\n\ndata: 4@22\nid: {four}\n\n");
    assert_eq!(sent(&mut connection), expected);
    assert_eq!(sent(&mut quiet), format!("data: 3@22\nid: {}\n\n", id(SECOND, 3)));
}

#[test]
fn an_end_that_no_epoch_accounts_for_is_told_before_anything_takes_its_place() {
    let log = replica(FIRST, CACHE_BYTES);
    let (mut connection, _) = opened(&log, &["a"], Start::Now);
    place(&log, FIRST, &[(1, "a"), (2, "a")]);
    sent(&mut connection);
    log.truncate_after(1);
    assert_eq!(sent(&mut connection), "");
    begin_second(&log, 1, &["b"]);
    assert_eq!(sent(&mut connection), "");
    place(&log, SECOND, &[(2, "b")]);
    let text = sent(&mut connection);
    assert!(
        text.starts_with("event: tidings.gap\ndata: {\"channels\":[\"a\"],\"reason\":\"epoch\""),
        "{text}"
    );
}

#[test]
fn a_page_that_was_made_before_the_end_was_cut_off_is_not_taken_for_what_came_after() {
    let log = replica(FIRST, 0);
    place(&log, FIRST, &[(1, "a"), (2, "a"), (3, "a")]);
    let (mut connection, _) = opened(&log, &["a"], Start::WholeHistory);
    let ConnectionStep::Read(page) = connection.next_step(false) else { panic!("it is read from the store") };
    log.truncate_after(1);
    begin_second(&log, 1, &["a"]);
    place(&log, SECOND, &[(2, "b"), (3, "a")]);
    let page = read(&log, page);
    assert!(connection.deliver(page, false).is_empty());
    let text = sent(&mut connection);
    assert!(text.starts_with("event: tidings.gap\n"), "{text}");
    assert!(
        text.contains("data: 1@11\n") && text.ends_with(&format!("data: 3@22\nid: {}\n\n", id(SECOND, 3)))
    );
}

const CHANNELS: [&str; 4] = ["a", "b", "c.x", "c.y"];
const AUDIENCES: [&[&str]; 4] = [&["a"], &["a", "c.*"], &["**"], &["b", "never"]];

#[derive(Debug, Clone)]
enum TransitionOp {
    Publish(Vec<usize>),
    /// The broker loses its newest entries, and reports it.
    LoseTail(u64),
    /// The broker begins a new epoch, without a loss.
    Begin,
    Poll(usize, bool),
    SlowPoll(usize, Box<TransitionOp>),
    Reconnect(usize),
}

fn act() -> impl Strategy<Value = TransitionOp> {
    let quick = prop_oneof![
        5 => prop::collection::vec(0..CHANNELS.len(), 1..150).prop_map(TransitionOp::Publish),
        2 => (1_u64..60).prop_map(TransitionOp::LoseTail),
        1 => Just(TransitionOp::Begin),
    ];
    prop_oneof![
        6 => quick.clone(),
        6 => (0..AUDIENCES.len(), any::<bool>()).prop_map(|(client, pushed)| TransitionOp::Poll(client, pushed)),
        3 => (0..AUDIENCES.len(), quick).prop_map(|(client, act)| TransitionOp::SlowPoll(client, Box::new(act))),
        2 => (0..AUDIENCES.len()).prop_map(TransitionOp::Reconnect),
    ]
}

/// The entries of a broker. Each has a unique number as its data.
#[derive(Default)]
struct BrokerModel {
    /// Entries by offset, from 1.
    log: Vec<(u64, &'static str)>,
    lost: BTreeMap<u64, &'static str>,
    rows: Vec<EpochRow>,
    published: u64,
}

struct TransitionClient {
    parser: Parser,
    subscriptions: Arc<[Subscription]>,
    connection: Option<Connection>,
    /// The client is at the head, and accepts new entries.
    is_idle: bool,
    had: BTreeSet<u64>,
    /// Lost events that were reported to the client.
    gaps_reported_to: BTreeSet<u64>,
}

struct TransitionTest {
    log: Arc<Log>,
    broker: BrokerModel,
    clients: Vec<TransitionClient>,
    broadcast_offset: u64,
    transitions_applied: u64,
}

impl TransitionTest {
    fn new(cache_bytes: u64) -> Self {
        let log = replica(1, cache_bytes);
        let broker = BrokerModel { rows: vec![row(1, 0, LostChannels::None)], ..BrokerModel::default() };
        let client = |audience: &&[&str]| TransitionClient {
            parser: Parser::new(),
            subscriptions: subscriptions(audience),
            connection: None,
            is_idle: false,
            had: BTreeSet::new(),
            gaps_reported_to: BTreeSet::new(),
        };
        let clients = AUDIENCES.iter().map(client).collect();
        let mut stage = Self { log, broker, clients, broadcast_offset: 0, transitions_applied: 0 };
        (0..AUDIENCES.len()).for_each(|client| stage.connect(client));
        stage
    }

    fn connect(&mut self, client: usize) {
        let it = &mut self.clients[client];
        let id = it.parser.last_event_id().to_owned();
        let start = if id.is_empty() { Start::WholeHistory } else { Start::After(id) };
        let (connection, opening) = open(&self.log, it.subscriptions.clone(), start);
        it.parser = Parser::new().with_last_event_id(it.parser.last_event_id());
        (it.connection, it.is_idle) = (Some(connection), false);
        // A barrier completes without a change of the broker.
        self.log.barriers().complete(self.log.barriers().begin());
        self.send(client, &opening);
    }

    fn send(&mut self, client: usize, bytes: &[u8]) {
        let it = &mut self.clients[client];
        let mut items = Vec::new();
        it.parser.feed(bytes, &mut |item| items.push(item)).unwrap();
        for item in items {
            let StreamItem::Event(event) = item else { continue };
            if event.name == "tidings.gap" {
                let notice: GapNotice = serde_json::from_str(&event.data).unwrap();
                assert_ne!(notice.reason, GapReason::Diverged);
                let named = |channel: &str| {
                    notice.channels.iter().any(|it| Subscription::parse(it).unwrap().matches(channel))
                };
                let gaps_reported_to = self.broker.lost.iter().filter(|(_, channel)| named(channel));
                it.gaps_reported_to.extend(gaps_reported_to.map(|(number, _)| *number));
            } else {
                let number: u64 = event.data.parse().unwrap();
                assert!(it.had.insert(number), "{number} came twice to {client}");
            }
        }
    }

    fn publish(&mut self, channels: &[usize]) {
        let epoch = self.broker.rows.last().unwrap().epoch;
        let mut batch = Vec::new();
        for channel in channels {
            self.broker.published += 1;
            let number = self.broker.published;
            self.broker.log.push((number, CHANNELS[*channel]));
            let offset = self.broker.log.len() as u64;
            let entry = new_entry(CHANNELS[*channel], &number.to_string());
            batch.push(ReplicatedEntry {
                offset,
                epoch: Epoch(epoch),
                tag: Tag(number as u32),
                before: Tag(0),
                entry,
            });
        }
        self.log.apply(batch).unwrap();
    }

    fn begin(&mut self, lost: LostChannels) {
        let row = row(self.broker.rows.len() as u64 + 1, self.broker.log.len() as u64, lost);
        self.broker.rows.push(row);
        self.log.install_epochs(self.broker.rows.clone());
    }

    fn lose_tail(&mut self, count: u64) {
        let to = (self.broker.log.len() as u64).saturating_sub(count);
        let lost = self.broker.log.split_off(to as usize);
        let dropped: Vec<String> = self
            .log
            .truncate_after(to)
            .iter()
            .flat_map(|entry| entry.channels.iter().map(ToString::to_string))
            .collect();
        assert_eq!(dropped, lost.iter().map(|(_, channel)| (*channel).to_owned()).collect::<Vec<_>>());
        self.broker.lost.extend(lost);
        self.begin(LostChannels::Channels(
            dropped.into_iter().collect::<BTreeSet<_>>().into_iter().collect(),
        ));
    }

    /// Polls a connection once; returns whether it was not idle.
    fn poll(&mut self, client: usize, meanwhile: Option<&TransitionOp>) -> bool {
        let connection = self.clients[client].connection.as_mut().unwrap();
        let frames = match connection.next_step(false) {
            ConnectionStep::Send { frames, .. } => frames,
            ConnectionStep::Read(page) => {
                meanwhile.into_iter().for_each(|act| self.act(act));
                let page = read(&self.log, page);
                self.clients[client].connection.as_mut().unwrap().deliver(page, false)
            }
            ConnectionStep::Idle => {
                self.clients[client].is_idle = true;
                return false;
            }
        };
        self.clients[client].is_idle = false;
        self.send(client, &frames.concat());
        true
    }

    /// Passes new entries to the clients at the head, as a shard does.
    fn feed(&mut self) {
        let newer = self.log.entries_after(self.broadcast_offset, self.transitions_applied, 64);
        let Some(entries) = newer.entries else {
            (self.broadcast_offset, self.transitions_applied) = (newer.head, newer.seen);
            (0..self.clients.len()).for_each(|client| while self.poll(client, None) {});
            return;
        };
        for entry in entries {
            self.broadcast_offset = entry.offset;
            for client in 0..self.clients.len() {
                let it = &mut self.clients[client];
                let channel = &entry.channels[0];
                if !it.subscriptions.iter().any(|held| held.matches(channel.as_str())) {
                    continue;
                }
                let connection = it.connection.as_mut().unwrap();
                if it.is_idle && connection.accept_live(&entry, 0) {
                    self.send(client, &entry.frame(newer.newest, &[]));
                }
            }
        }
    }

    fn act(&mut self, act: &TransitionOp) {
        match act {
            TransitionOp::Publish(channels) => self.publish(channels),
            TransitionOp::LoseTail(count) => self.lose_tail(*count),
            TransitionOp::Begin => self.begin(LostChannels::None),
            TransitionOp::Poll(_, true) => self.feed(),
            TransitionOp::Poll(client, false) => drop(self.poll(*client, None)),
            TransitionOp::SlowPoll(client, act) => drop(self.poll(*client, Some(act))),
            TransitionOp::Reconnect(client) => self.connect(*client),
        }
    }

    fn end(mut self) {
        (0..self.clients.len()).for_each(|client| while self.poll(client, None) {});
        for it in &self.clients {
            let mine = |channel: &str| it.subscriptions.iter().any(|held| held.matches(channel));
            for (number, channel) in self.broker.log.iter().filter(|(_, channel)| mine(channel)) {
                assert!(it.had.contains(number), "{number} of {channel} was lost silently");
            }
            for (number, channel) in self.broker.lost.iter().filter(|(_, channel)| mine(channel)) {
                let is_known = it.had.contains(number) || it.gaps_reported_to.contains(number);
                assert!(is_known, "{number} of {channel} was lost by the broker and not told");
            }
            let position = it.connection.as_ref().unwrap().position();
            assert_eq!((position.epoch, position.offset), (self.log.newest(), self.log.head().offset));
        }
    }
}

proptest! {
    #![proptest_config(seeded(300))]

    #[test]
    fn whatever_the_broker_loses_everything_arrives_once_or_is_told(
        acts in prop::collection::vec(act(), 1..60),
        cache_bytes in prop_oneof![Just(CACHE_BYTES), Just(0)],
    ) {
        let mut stage = TransitionTest::new(cache_bytes);
        acts.iter().for_each(|act| stage.act(act));
        stage.end();
    }
}
