//! For tests of this crate and of the hub: a temporary directory, a manual clock, new entries in one line.

#![allow(clippy::new_without_default, clippy::unwrap_used, reason = "a test fails by a panic")]

mod fillable_store;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(any(test, feature = "proptest"))]
use proptest::test_runner::{Config, RngSeed};
use tidings_protocol::{ChannelName, Epoch, EventId, Priority, Subscription, Tag};

pub use self::fillable_store::fillable_log;
use super::entry::{Entry, Idempotency, Millis, NewEntry};
use super::history::HistoryRange;
use super::open::Recovered;
use super::read::ReadRequest;
use super::resume::{ResumePoint, Start};
use super::store::StoreError;
use super::{Environment, Log};
use crate::settings::LogSettings;

/// Time of the clock of a test at its start.
pub const START: Millis = 1_800_000_000_000;

/// Directory of one test, removed with this value.
pub struct TestDir(PathBuf);

impl TestDir {
    pub fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tidings-log-{}-{count}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The segment files, oldest first.
    pub fn segments(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.0.join("segments")).unwrap().map(|file| file.unwrap().path());
        let mut files: Vec<PathBuf> =
            files.filter(|path| path.extension().is_some_and(|extension| extension == "log")).collect();
        files.sort();
        files
    }

    /// Damages a text in the oldest segment: its first letter is a capital.
    pub fn damage(&self, text: &str) {
        let path = self.segments().remove(0);
        let bytes = fs::read(&path).unwrap();
        let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.write_all_at(text[..1].to_uppercase().as_bytes(), at as u64).unwrap();
    }

    /// Bytes of everything in it but the reserve.
    pub fn bytes(&self) -> u64 {
        fn bytes_of(path: &Path) -> u64 {
            let files = fs::read_dir(path).unwrap().map(Result::unwrap);
            files
                .map(|file| match file.metadata().unwrap() {
                    data if data.is_dir() => bytes_of(&file.path()),
                    _ if file.file_name() == "reserve" => 0,
                    data => data.len(),
                })
                .sum()
        }
        bytes_of(&self.0)
    }

    /// A copy of the directory as it is on disk if the process dies now.
    pub fn copy(&self) -> Self {
        let copy = self.backup();
        super::store::disk::adopt_copy(&copy.0);
        copy
    }

    /// A copy as an operator makes it.
    pub fn backup(&self) -> Self {
        fn copy_into(from: &Path, to: &Path) {
            fs::create_dir_all(to).unwrap();
            for file in fs::read_dir(from).unwrap().map(Result::unwrap) {
                let target = to.join(file.file_name());
                if file.metadata().unwrap().is_dir() {
                    copy_into(&file.path(), &target);
                } else {
                    fs::copy(file.path(), target).unwrap();
                }
            }
        }
        let copy = Self::new();
        copy_into(&self.0, &copy.0);
        copy
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Configuration of property tests with the same cases in every run.
#[cfg(any(test, feature = "proptest"))]
pub fn seeded(cases: u32) -> Config {
    Config { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(0x71d1_4765), ..Config::default() }
}

/// Environment with a manual clock and random numbers from a seed.
pub struct TestWorld {
    now: AtomicU64,
    state: AtomicU64,
}

impl TestWorld {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self { now: AtomicU64::new(START), state: AtomicU64::new(seed) })
    }

    pub fn advance(&self, millis: Millis) {
        self.now.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Environment for TestWorld {
    fn now(&self) -> Millis {
        self.now.load(Ordering::Relaxed)
    }

    fn random(&self) -> u64 {
        // SplitMix64.
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut mixed = self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Log {
    pub fn append(&self, new_entries: Vec<NewEntry>) -> Result<Vec<Arc<Entry>>, StoreError> {
        self.append_with(new_entries, &mut || ())
    }

    /// Returns where a stream begins, without a read barrier.
    pub fn resume(&self, start: &Start, subscriptions: &[Subscription]) -> ResumePoint {
        self.state().resume_point(start, subscriptions, self.now())
    }

    /// Returns a cursor as an id in the newest epoch.
    pub fn id_at(&self, cursor: u64, tag: Tag) -> EventId {
        EventId::new(self.state().newest(), cursor, tag)
    }
}

pub fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

pub fn subscriptions(texts: &[&str]) -> Vec<Subscription> {
    texts.iter().map(|text| Subscription::parse(text).unwrap()).collect()
}

/// A new entry on channels that are separated by spaces.
pub fn new_entry(channels: &str, data: &str) -> NewEntry {
    NewEntry {
        channels: channels.split(' ').map(channel).collect(),
        event: None,
        data: data.into(),
        priority: Priority::Normal,
        key: None,
        published_at: START,
        expires_at: None,
        idempotency: None,
    }
}

pub fn keyed(channels: &str, key: &str) -> NewEntry {
    NewEntry { key: Some(key.into()), ..new_entry(channels, "keyed") }
}

pub fn urgent(channels: &str, priority: Priority) -> NewEntry {
    NewEntry { priority, ..new_entry(channels, priority.as_str()) }
}

pub fn idempotent(channels: &str, key: &str) -> NewEntry {
    let idempotency = Idempotency { publisher: "p".into(), key: key.into(), fingerprint: [7; 16] };
    NewEntry { idempotency: Some(idempotency), ..new_entry(channels, "once") }
}

/// An entry without a log.
pub fn entry(new_entry: NewEntry, offset: u64) -> Arc<Entry> {
    Arc::new(Entry::new(new_entry, offset, Epoch(1), Tag(offset as u32 ^ 0x5555_0000), Epoch(1)))
}

/// Request for the oldest events from a start.
pub fn wanted(start: &Start, limit: usize) -> HistoryRange {
    HistoryRange { start: start.clone(), until: None, limit, is_newest: false }
}

/// Request to read everything above a cursor, for a connection to which no gap and no transition was reported.
pub fn read_request(subscriptions: &[Subscription], cursor: u64) -> ReadRequest<'_> {
    ReadRequest {
        subscriptions,
        cursor,
        skips: &[],
        gaps_reported_to: 0,
        transitions_applied: 0,
        through: u64::MAX,
        overtaking_max: 0,
        may_join: false,
    }
}

/// Settings of a log that keeps so many events of each channel.
pub fn settings(retention_events: u64) -> LogSettings {
    LogSettings { retention_events, ..LogSettings::default() }
}

/// A log in memory.
pub fn memory_log(settings: &LogSettings, environment: &Arc<TestWorld>) -> Log {
    Log::open(settings, None, environment.clone()).unwrap().0
}

pub fn disk_log(
    settings: &LogSettings,
    directory: &TestDir,
    environment: &Arc<TestWorld>,
) -> (Log, Recovered) {
    Log::open(settings, Some(directory.path()), environment.clone()).unwrap()
}

/// Appends an event on the channels of each text, one by one, and returns their ids.
pub fn append_on(log: &Log, channels: &[&str]) -> Vec<EventId> {
    append_each(log, channels.iter().map(|names| new_entry(names, "x")))
}

/// Appends entries one by one, and returns their ids.
pub fn append_each(log: &Log, new_entries: impl IntoIterator<Item = NewEntry>) -> Vec<EventId> {
    new_entries
        .into_iter()
        .map(|mut new_entry| {
            new_entry.published_at = log.now();
            let entry = &log.append(vec![new_entry]).unwrap()[0];
            EventId::new(entry.epoch, entry.offset, entry.tag)
        })
        .collect()
}
