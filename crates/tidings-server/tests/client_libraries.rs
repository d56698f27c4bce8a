//! SSE client libraries of npm, PyPI, Go, Maven and crates.io, each run by an adapter in `tests/clients`. One hub and one script
//! serve all libraries of a registry. `cargo xtask clients` runs them all.

mod adapter;
mod libraries;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tidings_protocol::sse::StreamItem;

use self::adapter::Adapter;
use self::libraries::{CRATES, GO, Library, MAVEN, NPM, NPM_IN_CHROMIUM, PYPI};
use crate::prelude::*;

const CHANNEL: &str = "room";
/// The longest back-off of a library after several attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(60);
const LARGE_BYTES: usize = 200 << 10;

/// Event names and texts, in the order of their publishes.
#[derive(Default)]
struct PublishedEvents(Vec<(&'static str, String)>);

impl PublishedEvents {
    fn publish(&mut self, hub: &TestHub, name: &'static str, data: impl Into<String>) {
        let data = data.into();
        let event = if name == "message" { serde_json::Value::Null } else { json!(name) };
        hub.publish_batch([json!({ "channels": [CHANNEL], "event": event, "data": data })]);
        self.0.push((name, data));
    }
}

/// A hub with a fixed address, and all libraries of a registry that read from it.
struct LibraryRun {
    directory: TempDirectory,
    address: String,
    published: PublishedEvents,
    adapters: Vec<Adapter>,
}

impl LibraryRun {
    fn hub(&self) -> TestHub {
        let mut command = self.directory.command(&["serve", "--listen", &self.address, "--data-dir", "data"]);
        command.env("TIDINGS_STREAM_KEEP_ALIVE", "500ms").env("TIDINGS_SHUTDOWN_WINDOW", "1s");
        TestHub::start(command)
    }

    fn begin(libraries: &'static [Library]) -> (Self, TestHub) {
        let address = SocketAddr::from(([127, 0, 0, 1], fixed_port())).to_string();
        let url = format!("http://{address}/api/v1/events/{CHANNEL}");
        let (directory, published) = (TempDirectory::create(), PublishedEvents::default());
        let mut play = Self { directory, address, published, adapters: Vec::new() };
        let hub = play.hub();
        play.adapters = libraries.iter().map(|library| Adapter::start(library, &url)).collect();
        play.until_all_are_connected(&hub);
        (play, hub)
    }

    #[track_caller]
    fn until(&mut self, what: &str, mut holds: impl FnMut(&mut [Adapter]) -> bool) {
        let begun = Instant::now();
        loop {
            self.adapters.iter_mut().for_each(Adapter::take_lines);
            if holds(&mut self.adapters) {
                return;
            }
            assert!(begun.elapsed() < BACKOFF_MAX, "not within {BACKOFF_MAX:?}: {what}\n{}", self.report());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[track_caller]
    fn until_all_are_connected(&mut self, hub: &TestHub) {
        let count = self.adapters.len() as u64;
        self.until("every library has its stream", |adapters| {
            adapters.iter().all(Adapter::has_opened) && hub.connections(CHANNEL) == count
        });
    }

    #[track_caller]
    fn until_all_have_all(&mut self) {
        let count = self.published.0.len();
        self.until("every library has every event", |adapters| {
            adapters.iter().all(|adapter| adapter.delivered().count() >= count)
        });
    }

    /// A line for each library with a fault.
    fn report(&self) -> String {
        let faults =
            self.adapters.iter().filter_map(|it| Some(format!("{}\n", it.fault(&self.published.0)?)));
        faults.collect()
    }
}

/// Waits until the hub has sent several keep-alives.
fn pass_keep_alives(hub: &TestHub) {
    let mut reader = hub.subscribe(&format!("/api/v1/events/{CHANNEL}"));
    let mut left = 4;
    while left > 0 {
        let item = reader.next_item().expect("the stream goes on");
        left -= u32::from(matches!(&item, StreamItem::Comment(text) if text.trim() == "keep-alive"));
    }
}

fn play(libraries: &'static [Library]) {
    let (mut play, hub) = LibraryRun::begin(libraries);
    play.published.publish(&hub, "message", "without a name");
    play.published.publish(&hub, "note", "with a name");
    play.published.publish(&hub, "message", "the first line\nthe second\n\nafter an empty one");
    play.published.publish(&hub, "message", "größer ☃ 𝄞");
    play.published.publish(&hub, "note", "x".repeat(LARGE_BYTES));
    play.until_all_have_all();

    pass_keep_alives(&hub);
    play.published.publish(&hub, "message", "after keep-alives");
    play.until_all_have_all();

    hub.terminate();
    let hub = play.hub();
    play.published.publish(&hub, "message", "after a restart");
    play.until_all_have_all();
    hub.terminate();
    let hub = play.hub();
    play.until_all_are_connected(&hub);
    // Closed again, although no event came since.
    hub.terminate();
    let hub = play.hub();
    play.published.publish(&hub, "note", "after two restarts");
    play.until_all_have_all();

    play.until_all_are_connected(&hub);
    // Acknowledged events, which are still in transit when the hub is killed.
    play.published.publish(&hub, "message", "before the kill");
    hub.kill();
    let hub = play.hub();
    play.published.publish(&hub, "message", "after the kill");
    play.until_all_have_all();
    pass_keep_alives(&hub);
    play.published.publish(&hub, "note", "the last one");
    play.until_all_have_all();

    let report = play.report();
    assert!(report.is_empty(), "\n{report}");
}

/// Declares a test for the libraries of each registry.
macro_rules! library_tests {
    ($($(#[$ignore:meta])? $name:ident: $libraries:expr;)+) => {
        $(#[test]
        $(#[$ignore])?
        fn $name() {
            play($libraries);
        })+
    };
}

library_tests! {
    libraries_of_npm_deliver_each_event_once_and_no_empty_message: NPM;
    libraries_of_pypi_deliver_each_event_once_and_no_empty_message: PYPI;
    #[ignore = "starts a browser: cargo xtask clients"]
    libraries_of_npm_in_a_page_deliver_each_event_once_and_no_empty_message: NPM_IN_CHROMIUM;
    #[ignore = "needs Go: cargo xtask clients"]
    libraries_of_go_deliver_each_event_once_and_no_empty_message: GO;
    #[ignore = "needs Java and Maven: cargo xtask clients"]
    libraries_of_maven_deliver_each_event_once_and_no_empty_message: MAVEN;
    #[ignore = "builds crates of its own: cargo xtask clients"]
    libraries_of_crates_io_deliver_each_event_once_and_no_empty_message: CRATES;
}

#[test]
fn every_library_is_pinned_and_has_a_row_in_the_manual() {
    const MANUAL: &str = include_str!("../../../docs/manual/clients.md");
    for library in [NPM, NPM_IN_CHROMIUM, PYPI, GO, MAVEN, CRATES].into_iter().flatten() {
        let row = format!("| {} {} |", library.name, library.version);
        assert!(MANUAL.lines().any(|line| line.starts_with(&row)), "docs/manual/clients.md has no row {row}");
        assert!(library.is_pinned(), "{} is not pinned at {}", library.name, library.version);
    }
}
