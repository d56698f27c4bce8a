//! Many streams at once: clients that read all the time, and clients that never read.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::{io::AsyncReadExt, net::TcpStream, runtime::Runtime};

use crate::prelude::*;

/// Streams that a thread of their own reads. Each checks that the numbers at the beginning of the data
/// come from 0 without a hole.
pub(crate) struct StreamFleet {
    _runtime: Runtime,
    readers: Vec<Arc<StreamProgress>>,
}

#[derive(Default)]
struct StreamProgress {
    received: AtomicU64,
    is_open: AtomicBool,
    /// An event other than the next number came.
    is_broken: AtomicBool,
    is_over: AtomicBool,
}

impl StreamFleet {
    /// Opens streams of a channel without events.
    pub(crate) fn open(hub: &TestHub, channel: &str, streams: usize) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let readers: Vec<Arc<StreamProgress>> = (0..streams).map(|_| Arc::default()).collect();
        let path = format!("/api/v1/events/{channel}?position=id");
        let request = hub.encode_request("GET", &path, &[], b"");
        for reader in &readers {
            // One after the other: an overflow of the accept queue costs seconds.
            let mut socket = std::net::TcpStream::connect(hub.authority()).unwrap();
            socket.write_all(&request).unwrap();
            socket.set_nonblocking(true).unwrap();
            let reader = reader.clone();
            runtime.spawn(async move {
                read(TcpStream::from_std(socket).unwrap(), &reader).await;
                reader.is_over.store(true, Ordering::SeqCst);
            });
        }
        let fleet = Self { _runtime: runtime, readers };
        eventually("all streams are open", || fleet.all(|reader| reader.is_open.load(Ordering::SeqCst)));
        fleet
    }

    fn all(&self, holds: impl Fn(&StreamProgress) -> bool) -> bool {
        self.readers.iter().all(|reader| holds(reader))
    }

    /// Number of events that every stream has received.
    pub(crate) fn received(&self) -> u64 {
        self.readers.iter().map(|reader| reader.received.load(Ordering::SeqCst)).min().unwrap()
    }

    /// Asserts that all streams are open and have received their events in order so far.
    #[track_caller]
    pub(crate) fn assert_in_order(&self) {
        assert!(
            self.all(|reader| !reader.is_broken.load(Ordering::SeqCst)),
            "a stream received another event"
        );
        assert!(self.all(|reader| !reader.is_over.load(Ordering::SeqCst)), "a stream has ended");
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, events: u64) {
        eventually("all streams have every event", || {
            self.assert_in_order();
            self.received() >= events
        });
        assert_eq!(self.received(), events);
    }
}

async fn read(mut socket: TcpStream, reader: &StreamProgress) {
    let mut pending = Vec::new();
    while socket.read_buf(&mut pending).await.is_ok_and(|bytes| bytes > 0) {
        let Some(end) = pending.iter().rposition(|byte| *byte == b'\n') else { continue };
        let rest = pending.split_off(end + 1);
        // Every frame is within one chunk, so each of its lines begins a line of the connection.
        for line in pending.split(|byte| *byte == b'\n') {
            if line.starts_with(b"id: ") {
                reader.is_open.store(true, Ordering::SeqCst);
            } else if let Some(data) = line.strip_prefix(b"data: ") {
                let number = data.split(|byte| *byte == b' ').next().unwrap();
                let expected = reader.received.load(Ordering::SeqCst).to_string();
                if number == expected.as_bytes() {
                    reader.received.fetch_add(1, Ordering::SeqCst);
                } else {
                    reader.is_broken.store(true, Ordering::SeqCst);
                }
            }
        }
        pending = rest;
    }
}

/// Publishes a batch of numbered events of about this size to a channel.
pub(crate) fn publish_numbered(hub: &TestHub, channel: &str, numbers: std::ops::Range<u64>, bytes: usize) {
    let padding = "x".repeat(bytes);
    hub.publish_batch(
        numbers.map(|number| json!({"channels": [channel], "data": format!("{number} {padding}")})),
    );
}

/// Opens a stream that is never read.
fn open_stalled_stream(hub: &TestHub, channel: &str) -> HttpConnection {
    let mut connection = hub.connect_with_small_buffer();
    connection.send(hub.encode_request("GET", &format!("/api/v1/events/{channel}"), &[], b""));
    connection
}

#[test]
fn two_hundred_stalled_clients_are_closed_at_the_write_timeout_and_five_hundred_others_get_all() {
    const STUCK: u16 = 200;
    const HEALTHY: u16 = 500;
    const EVENTS_A_ROUND: u64 = 20;
    const WRITE_TIMEOUT: Duration = Duration::from_secs(4);
    let settings = [
        ("TIDINGS_STREAM_WRITE_TIMEOUT", "4s"),
        ("TIDINGS_LOG_RETENTION_EVENTS", "1000000"),
        // Keep-alives would disturb clients that read slowly in this test.
        ("TIDINGS_STREAM_KEEP_ALIVE", "1h"),
    ];
    let hub = TestHub::in_memory(&settings);
    let healthy = StreamFleet::open(&hub, "a", HEALTHY.into());
    let open_stalled_stream: Vec<HttpConnection> =
        (0..STUCK).map(|_| open_stalled_stream(&hub, "a")).collect();
    let streams = f64::from(STUCK + HEALTHY);
    eventually("all streams are open", || hub.metric("tidings_streams_open") == streams);
    let cut = || hub.metric("tidings_write_timeouts_total");
    let begun = Instant::now();
    let mut published = 0;
    let mut is_pressed_whole = false;
    while hub.metric("tidings_streams_open") > f64::from(HEALTHY) {
        publish_numbered(&hub, "a", published..published + EVENTS_A_ROUND, 2000);
        published += EVENTS_A_ROUND;
        healthy.wait_for(published);
        let count = cut();
        // The count was read before the clock: only an early close can fail this.
        assert!(count == 0.0 || begun.elapsed() >= WRITE_TIMEOUT, "{count} after {:?}", begun.elapsed());
        is_pressed_whole |= hub.metric("tidings_socket_backpressure_total") >= f64::from(STUCK);
        assert!(begun.elapsed() < WRITE_TIMEOUT * 10, "{count} were cut");
        if is_pressed_whole {
            thread::sleep(Duration::from_millis(50));
        }
    }
    let pressed = hub.metric("tidings_socket_backpressure_total");
    assert!(pressed >= f64::from(STUCK), "each stalled socket has refused bytes");
    assert_eq!(cut(), f64::from(STUCK), "each stalled stream was closed and counted");
    assert_eq!(hub.connections("a"), u64::from(HEALTHY));
    publish_numbered(&hub, "a", published..published + 1, 10);
    healthy.wait_for(published + 1);
    drop(open_stalled_stream);
    let log = hub.terminate();
    assert!(!log.contains("panicked"), "{log}");
}
