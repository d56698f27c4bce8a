//! A driver that a test polls as a transport does, at times of its choice.

use std::time::Duration;

use tidings_protocol::Priority;

use super::*;
use crate::connection::tests::{
    connect, memory_log, new_entry, read, small_log, subscriptions, transient, urgent,
};
use crate::connection::{PositionStyle, Start, StreamOptions};
use crate::metrics::LogGauges;

const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A driver on channel `a`, and the time at which it was opened.
struct DriverFixture {
    driver: Driver,
    opening: Bytes,
    start: Instant,
}

impl DriverFixture {
    fn open_with(log: &Arc<Log>, options: &StreamOptions, max_age: Option<Duration>) -> Self {
        let connection = connect(log, subscriptions(&["a"]), options);
        let timers =
            StreamTimers { keep_alive: KEEP_ALIVE, max_age, time_left: None, retry: Duration::from_secs(1) };
        let start = Instant::now();
        let (driver, opening) = Driver::new(NewConnection { connection, timers, open_event: None }, start);
        Self { driver, opening, start }
    }

    fn open(log: &Arc<Log>) -> Self {
        let options = StreamOptions { positions: PositionStyle::Id, ..StreamOptions::default() };
        Self::open_with(log, &options, None)
    }

    fn poll(&mut self, after: Duration) -> DriverStep {
        self.driver.poll(Waker::noop(), self.start + after, true)
    }

    /// Returns the frames that are sent at a time, until the driver waits.
    fn drain(&mut self, after: Duration) -> Vec<String> {
        let mut sent = Vec::new();
        loop {
            let frames = match self.poll(after) {
                DriverStep::Write(frames) => frames,
                DriverStep::Load(page) => {
                    let page = read(&self.driver.log().clone(), page);
                    self.driver.on_page_loaded(page, self.start + after).unwrap_or_default()
                }
                DriverStep::Continue => Vec::new(),
                DriverStep::WaitUntil(due) => {
                    assert!(due > self.start + after, "the driver waits for a time that has passed");
                    return sent;
                }
                DriverStep::Finish(frame) => vec![frame],
            };
            sent.extend(frames.iter().map(|frame| String::from_utf8(frame.to_vec()).unwrap()));
            if self.driver.is_finished() {
                return sent;
            }
        }
    }

    fn accept_live(&mut self, entry: &Entry, after: Duration, has_room: bool) -> bool {
        self.driver.accept_live(entry, self.start + after, 0, has_room)
    }

    fn push_transient(&self) -> bool {
        self.driver.handle().push_transient(&transient(self.driver.log().head().offset))
    }

    fn metrics_text(&self) -> String {
        self.driver.connection.metrics.text(0, LogGauges::default())
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A stream from the beginning of a log whose cache has the newest entry only, and the page that it loads.
fn replay() -> (DriverFixture, Page) {
    let log = small_log(0, 100_000);
    log.append(vec![new_entry("a", "stored"), new_entry("a", "cached")]).unwrap();
    let options = StreamOptions { start: Start::WholeHistory, ..StreamOptions::default() };
    let mut stream = DriverFixture::open_with(&log, &options, None);
    let DriverStep::Load(page) = stream.poll(seconds(0)) else { panic!("the entry is not in the cache") };
    (stream, read(&log, page))
}

#[test]
fn a_silent_stream_gets_a_keep_alive_with_its_newest_position() {
    let log = memory_log();
    let mut stream = DriverFixture::open(&log);
    assert!(stream.opening.starts_with(b"retry: 1000\n: tidings\nid: "));
    for round in 1..=3 {
        log.append(vec![new_entry("foreign", "x"); 5000]).unwrap();
        assert_eq!(stream.drain(seconds(15 * round - 1)), Vec::<String>::new());
        assert_eq!(stream.driver.due(), stream.start + seconds(15 * round));
        let keep_alive = format!(": keep-alive\nid: {}\n\n", log.head());
        assert_eq!(stream.drain(seconds(15 * round)), [keep_alive]);
    }
}

#[test]
fn the_position_is_renewed_though_only_events_without_an_id_flow() {
    let log = memory_log();
    let mut stream = DriverFixture::open(&log);
    assert_eq!(stream.drain(seconds(0)), Vec::<String>::new());
    for second in 1..15 {
        assert!(stream.push_transient());
        assert_eq!(stream.drain(seconds(second)), ["data: u\n\n"]);
    }
    let sent = stream.drain(seconds(15));
    assert_eq!(sent, [format!("id: {}\n\n", log.head())], "the stream was not silent");
}

#[test]
fn positions_that_are_not_wanted_are_never_written() {
    let mut stream = DriverFixture::open_with(&memory_log(), &StreamOptions::default(), None);
    assert_eq!(stream.opening, "retry: 1000\n: tidings\n");
    assert_eq!(stream.drain(seconds(15)), [": keep-alive\n"]);
    // The last frame counts, with an id or without one.
    assert_eq!(stream.drain(seconds(22)), Vec::<String>::new());
    assert!(stream.push_transient());
    assert_eq!(stream.drain(seconds(23)), ["data: u\n\n"]);
    assert_eq!(stream.drain(seconds(37)), Vec::<String>::new());
    assert_eq!(stream.drain(seconds(38)), [": keep-alive\n"]);
}

#[test]
fn a_stream_ends_at_its_maximum_age() {
    let log = memory_log();
    let options = StreamOptions { positions: PositionStyle::Id, ..StreamOptions::default() };
    let mut stream = DriverFixture::open_with(&log, &options, Some(seconds(7)));
    assert_eq!(stream.drain(seconds(6)), Vec::<String>::new());
    assert_eq!(stream.driver.due(), stream.start + seconds(7));
    let entry = log.append(vec![new_entry("a", "late")]).unwrap().remove(0);
    assert!(!stream.accept_live(&entry, seconds(7), true), "the stream is over");
    let end = stream.drain(seconds(7)).remove(0);
    let expected = "event: tidings.end\ndata: {\"reason\":\"max_age\",\"reconnect\":true}\nid: ";
    assert!(end.starts_with(expected), "{end:?}");
    assert!(stream.driver.is_finished());
    assert!(stream.metrics_text().contains("tidings_streams_ended_total{reason=\"max_age\"} 1"));
}

#[test]
fn a_stream_that_is_asked_to_end_does_so_before_all_else() {
    let log = memory_log();
    let mut stream = DriverFixture::open(&log);
    stream.drain(seconds(0));
    let entry = log.append(vec![new_entry("a", "1")]).unwrap().remove(0);
    let retry = Some(seconds(2));
    stream.driver.handle().end(Termination { reason: EndReason::Shutdown, reconnect: true, retry });
    assert!(!stream.accept_live(&entry, seconds(0), true));
    let end = stream.drain(seconds(0));
    assert!(end[0].starts_with("retry: 2000\nevent: tidings.end\n"), "{end:?}");
    assert_eq!(end.len(), 1);
}

#[test]
fn nothing_is_sent_while_the_transport_cannot_write_and_urgent_events_come_first_after() {
    let log = memory_log();
    let mut stream = DriverFixture::open(&log);
    stream.drain(seconds(0));
    assert!(stream.push_transient());
    log.append(vec![new_entry("a", "pending"); 100]).unwrap();
    let step = stream.driver.poll(Waker::noop(), stream.start, false);
    assert!(matches!(step, DriverStep::WaitUntil(_)));
    assert!(stream.driver.is_pressed());
    assert!(!stream.push_transient(), "the stream is behind");
    assert!(stream.metrics_text().contains("tidings_transient_events_dropped_total 1"));
    log.append(vec![urgent(Priority::Critical, "a", "now")]).unwrap();
    let sent = stream.drain(seconds(0));
    assert!(sent[0].starts_with("data: now\n"), "{}", sent[0]);
    assert_eq!(sent.concat().matches("data: ").count(), 101);
    assert!(!stream.driver.is_pressed() && stream.driver.is_idle());
    assert!(stream.push_transient(), "the stream is not behind any more");
}

#[test]
fn an_idle_stream_accepts_new_entries_in_order_and_reads_those_without_room() {
    let log = memory_log();
    let mut stream = DriverFixture::open(&log);
    let entries = log.append(vec![new_entry("a", "0")]).unwrap();
    assert!(!stream.accept_live(&entries[0], seconds(0), true), "the stream is not idle yet");
    assert_eq!(stream.drain(seconds(0)).len(), 1);
    let entries = log.append((1..4).map(|number| new_entry("a", &number.to_string())).collect()).unwrap();
    assert!(stream.accept_live(&entries[0], seconds(0), true));
    assert!(!stream.accept_live(&entries[0], seconds(0), true), "the stream has it");
    assert!(!stream.accept_live(&entries[1], seconds(0), false));
    assert!(!stream.accept_live(&entries[2], seconds(0), true), "the entry before it is missing");
    assert!(!stream.driver.is_idle());
    let sent = stream.drain(seconds(0)).concat();
    for (data, is_sent) in [("1", false), ("2", true), ("3", true)] {
        assert_eq!(sent.contains(&format!("data: {data}\n")), is_sent, "{sent}");
    }
}

#[test]
fn a_page_that_loads_while_the_transport_refuses_bytes_is_read_again() {
    let (mut stream, page) = replay();
    assert!(matches!(stream.poll(seconds(0)), DriverStep::WaitUntil(_)), "a page is loading");
    stream.driver.note_pressure();
    assert!(stream.driver.on_page_loaded(page, stream.start).is_none());
    assert!(stream.drain(seconds(0)).concat().contains("data: stored\n"));
}

#[test]
fn a_stream_that_ends_while_a_page_loads_does_not_send_the_page() {
    let (mut stream, page) = replay();
    stream.driver.handle().end(Termination::of_rights(EndReason::Revoked));
    assert!(stream.driver.on_page_loaded(page, stream.start).is_none());
    assert!(matches!(stream.poll(seconds(0)), DriverStep::Finish(_)));
}
