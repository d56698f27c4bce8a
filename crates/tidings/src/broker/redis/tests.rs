mod appends;
mod clocks;
mod damage;
mod epochs;
mod losses;
mod outages;
mod replication;
mod slow_links;
mod state;
mod tables;

use std::{sync::Arc, time::Duration};

use tidings_log::{Idempotency, LostChannels, ReplicatedEntry, testing::new_entry};
use tidings_protocol::{ChannelName, Epoch, Priority, Tag};
use tidings_redis::{PubsubConnection, PubsubEvent, PubsubTarget, RedisError, RedisUrl};
use tidings_sync::Histogram;
use tidings_testkit::RedisServer;

use super::append_call::{Append, AppendError, AppendOutcome, AppendRefusal, Appended, LastSeen, NewEvent};
use super::epochs::BeginOutcome::{Known, Now, Other};
use super::epochs::EpochStart::{HeadOf, Nothing, Remains};
use super::epochs::{NewEpoch, RedisEpoch};
use super::shared_table::replica::TableChange;
use super::shared_table::row::{RowVersion, TableRow};
use super::shared_table::{ConditionalPut, PutOutcome};
use super::*;

const EPOCH: Epoch = Epoch(7);

pub(super) fn options(redis: &RedisServer) -> RedisLogOptions {
    RedisLogOptions {
        url: RedisUrl::new(redis.url()),
        tls_files: TlsFiles::default(),
        prefix: "test".into(),
        deadline: Duration::from_secs(20),
        replicas_min: 0,
        idempotency_window: Duration::from_secs(60),
        mirror: Vec::new(),
        round_trips: Histogram::default(),
    }
}

fn redis_log(redis: &RedisServer) -> RedisLog {
    RedisLog::new(&options(redis)).unwrap()
}

/// A client that reaches the server by another URL.
fn redis_log_at(redis: &RedisServer, url: &str) -> RedisLog {
    RedisLog::new(&RedisLogOptions { url: RedisUrl::new(url), ..options(redis) }).unwrap()
}

/// Client of a log that has begun.
pub(super) async fn begun(redis: &RedisServer) -> RedisLog {
    let redis_log = redis_log(redis);
    let begun = redis_log.begin(Nothing, new_epoch(EPOCH), None).await;
    assert!(matches!(begun, Ok(Now(_))));
    redis_log
}

/// A server, and a client of its log, which has one event for each text; its tag is its offset.
async fn log_with(texts: &[&str]) -> (RedisServer, RedisLog) {
    let redis = RedisServer::start();
    let redis_log = begun(&redis).await;
    fill(&redis_log, texts).await;
    (redis, redis_log)
}

fn new_epoch(epoch: Epoch) -> NewEpoch {
    NewEpoch { epoch, lost: LostChannels::None, replid: "r1".into() }
}

pub(super) fn event(data: &str, tag: u32) -> NewEvent {
    NewEvent { entry: new_entry("news", data), tag: Tag(tag) }
}

/// Event with an idempotency key; its fingerprint is the first byte of its text.
fn keyed(data: &str, tag: u32, publisher: &str, key: &str) -> NewEvent {
    let mut event = event(data, tag);
    event.entry.idempotency = Some(Idempotency {
        publisher: publisher.into(),
        key: key.into(),
        fingerprint: [data.as_bytes()[0]; 16],
    });
    event
}

pub(super) fn publish(events: impl Into<Vec<NewEvent>>) -> Append {
    Append { events: events.into() }
}

async fn append_one(
    redis_log: &RedisLog,
    event: NewEvent,
    witness: LastSeen,
) -> Result<AppendOutcome, AppendError> {
    Ok(redis_log.append(&[publish([event])], witness).await?.remove(0))
}

fn appended(events: impl Into<Vec<Appended>>) -> AppendOutcome {
    AppendOutcome::Appended(events.into())
}

fn stored(offset: u64, tag: u32) -> Appended {
    Appended { offset, tag: Tag(tag), is_repeat: false }
}

fn repeat(offset: u64, tag: u32) -> Appended {
    Appended { is_repeat: true, ..stored(offset, tag) }
}

fn seen(offset: u64, tag: u32) -> LastSeen {
    LastSeen { epoch: EPOCH, offset, tag: Tag(tag) }
}

pub(super) const NOTHING_SEEN: LastSeen = LastSeen { epoch: EPOCH, offset: 0, tag: Tag(0) };

/// Appends one event for each text; its tag is its expected offset.
pub(super) async fn fill(redis_log: &RedisLog, texts: &[&str]) {
    for text in texts {
        let head = redis_log.head().await.unwrap().offset;
        let tag = head as u32 + 1;
        let outcome = append_one(redis_log, event(text, tag), NOTHING_SEEN).await;
        assert_eq!(outcome, Ok(appended([stored(head + 1, tag)])));
    }
}

fn texts(stored: &[ReplicatedEntry]) -> Vec<&str> {
    stored.iter().map(|stored| &*stored.entry.data).collect()
}

/// Client of the table `people`.
pub(super) fn people(redis_log: RedisLog) -> SharedTable {
    SharedTable::new(Arc::new(redis_log), "people", rand::random)
}

/// A row that is put if it is missing.
pub(super) fn new_row(key: &str, value: &str) -> ConditionalPut {
    ConditionalPut { key: key.into(), value: value.into(), until: None, expected: RowVersion::default() }
}
