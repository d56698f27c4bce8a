//! Many streams at once: healthy ones that read all the time, and stuck ones that never do.

use std::io::Write;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use socket2::{Domain, Socket, Type};
use tidings_testkit::{TempDirectory, eventually};
use tokio::{io::AsyncReadExt, net::TcpStream, runtime::Runtime};

use crate::hub::TestHub;

/// Streams that are read in a thread of their own. Each checks that the numbers, with which the data of every event
/// begins, come from 0 without a hole.
pub(crate) struct Crowd {
    _runtime: Runtime,
    readers: Vec<Arc<Progress>>,
}

/// What one of the streams has received.
#[derive(Default)]
struct Progress {
    received: AtomicU64,
    is_open: AtomicBool,
    /// Something else came than the next number.
    is_broken: AtomicBool,
    is_over: AtomicBool,
}

impl Crowd {
    /// Opens streams of a channel to which nothing was published.
    pub(crate) fn open(hub: &TestHub, channel: &str, streams: usize) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let readers: Vec<Arc<Progress>> = (0..streams).map(|_| Arc::default()).collect();
        let path = format!("/api/v1/events/{channel}?position=id");
        let request = hub.encode_request("GET", &path, &[], b"");
        for reader in &readers {
            // One after the other: a queue of connections that overflows costs seconds.
            let mut socket = std::net::TcpStream::connect(hub.authority()).unwrap();
            socket.write_all(&request).unwrap();
            socket.set_nonblocking(true).unwrap();
            let reader = reader.clone();
            runtime.spawn(async move {
                read(TcpStream::from_std(socket).unwrap(), &reader).await;
                reader.is_over.store(true, Ordering::SeqCst);
            });
        }
        let crowd = Self { _runtime: runtime, readers };
        eventually("all are open", || crowd.all(|reader| reader.is_open.load(Ordering::SeqCst)));
        crowd
    }

    fn all(&self, holds: impl Fn(&Progress) -> bool) -> bool {
        self.readers.iter().all(|reader| holds(reader))
    }

    /// Events that every one of them has.
    pub(crate) fn received(&self) -> u64 {
        self.readers.iter().map(|reader| reader.received.load(Ordering::SeqCst)).min().unwrap()
    }

    /// Fails unless all are open and were told every event in order so far.
    #[track_caller]
    pub(crate) fn is_well(&self) {
        assert!(self.all(|reader| !reader.is_broken.load(Ordering::SeqCst)), "one was told something else");
        assert!(self.all(|reader| !reader.is_over.load(Ordering::SeqCst)), "one was ended");
    }

    /// Waits until all have this many events.
    #[track_caller]
    pub(crate) fn wait_for(&self, events: u64) {
        eventually("all have every event", || {
            self.is_well();
            self.received() >= events
        });
        assert_eq!(self.received(), events);
    }
}

async fn read(mut socket: TcpStream, reader: &Progress) {
    let mut pending = Vec::new();
    while socket.read_buf(&mut pending).await.is_ok_and(|bytes| bytes > 0) {
        let Some(end) = pending.iter().rposition(|byte| *byte == b'\n') else { continue };
        let rest = pending.split_off(end + 1);
        // Every frame is whole in its chunk: each of its lines begins a line of the connection.
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

/// Publishes a batch of numbered events to a channel, each about this large.
pub(crate) fn publish_numbered(hub: &TestHub, channel: &str, numbers: std::ops::Range<u64>, bytes: usize) {
    let padding = "x".repeat(bytes);
    hub.publish_batch(
        numbers.map(|number| json!({"channels": [channel], "data": format!("{number} {padding}")})),
    );
}

/// Opens a stream over a socket that takes little, and never reads from it.
fn stuck(hub: &TestHub, channel: &str) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    let address: std::net::SocketAddr = hub.authority().parse().unwrap();
    socket.connect(&address.into()).unwrap();
    (&socket).write_all(&hub.encode_request("GET", &format!("/api/v1/events/{channel}"), &[], b"")).unwrap();
    socket
}

#[test]
fn two_hundred_that_never_read_are_cut_at_their_deadline_and_five_hundred_beside_them_get_all() {
    const STUCK: u16 = 200;
    const HEALTHY: u16 = 500;
    const EVENTS_A_ROUND: u64 = 20;
    const WRITE_TIMEOUT: Duration = Duration::from_secs(4);
    let directory = TempDirectory::create();
    let settings = [
        ("TIDINGS_STREAM_WRITE_TIMEOUT", "4s"),
        ("TIDINGS_LOG_RETENTION_EVENTS", "1000000"),
        // Whoever reads slowly in this test is not to be told by keep-alives.
        ("TIDINGS_STREAM_KEEP_ALIVE", "1h"),
    ];
    let hub = TestHub::in_memory(&directory, &settings);
    let healthy = Crowd::open(&hub, "a", HEALTHY.into());
    let stuck: Vec<Socket> = (0..STUCK).map(|_| stuck(&hub, "a")).collect();
    let streams = f64::from(STUCK + HEALTHY);
    eventually("all are open", || hub.metric("tidings_streams_open") == streams);
    let cut = || hub.metric("tidings_write_timeouts_total");
    let begun = Instant::now();
    let mut published = 0;
    let mut is_pressed_whole = false;
    while hub.metric("tidings_streams_open") > f64::from(HEALTHY) {
        publish_numbered(&hub, "a", published..published + EVENTS_A_ROUND, 2000);
        published += EVENTS_A_ROUND;
        healthy.wait_for(published);
        let count = cut();
        // The count was taken before the clock: nothing but a cut before its time can fail this.
        assert!(count == 0.0 || begun.elapsed() >= WRITE_TIMEOUT, "{count} after {:?}", begun.elapsed());
        is_pressed_whole |= hub.metric("tidings_socket_backpressure_total") >= f64::from(STUCK);
        assert!(begun.elapsed() < WRITE_TIMEOUT * 10, "{count} were cut");
        if is_pressed_whole {
            thread::sleep(Duration::from_millis(50));
        }
    }
    let pressed = hub.metric("tidings_socket_backpressure_total");
    assert!(pressed >= f64::from(STUCK), "each of them has refused bytes");
    assert_eq!(cut(), f64::from(STUCK), "each was cut for that, and counted");
    assert_eq!(hub.connections("a"), u64::from(HEALTHY));
    publish_numbered(&hub, "a", published..published + 1, 10);
    healthy.wait_for(published + 1);
    drop(stuck);
    hub.signal(rustix::process::Signal::TERM);
    let (status, log) = hub.wait_for_exit();
    assert!(status.success() && !log.contains("panicked"), "{log}");
}
