//! Bodies as hyper polls them, with paused time.

use std::task::Waker;

use http_body_util::BodyExt;
use tidings_log::{Log, NewEntry};
use tidings_protocol::Priority;
use tidings_protocol::body::EndReason;
use tidings_protocol::sse::{Parser, StreamItem};

use super::*;
use crate::broker::DeliverySink;
use crate::connection::tests::{
    WakeCounter, channel, connection_permit, handle, memory_log, new_entry, small_log, transient, urgent,
};
use crate::connection::{PositionStyle, Start, StreamOptions, StreamTimers, Termination};
use crate::hub::Subscribers;
use crate::metrics::Metrics;
use crate::metrics::tests::metrics;

const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A log, and the handles that it wakes.
struct Fixture {
    log: Arc<Log>,
    subscribers: Arc<Subscribers>,
    metrics: Arc<Metrics>,
    timers: StreamTimers,
}

impl Fixture {
    fn new(log: Arc<Log>) -> Self {
        let timers = StreamTimers {
            keep_alive: KEEP_ALIVE,
            max_age: None,
            time_left: None,
            retry: Duration::from_secs(1),
        };
        Self { log, subscribers: Arc::default(), metrics: metrics(), timers }
    }

    fn open_with(
        &self,
        channels: &[&str],
        options: &StreamOptions,
        pressure: Option<Arc<Backpressure>>,
    ) -> EventBody {
        let handle = handle(self.subscribers.count() as u128, channels, false);
        let (subscribers, permit) = (&self.subscribers, connection_permit());
        let connection = subscribers.open_connection(&self.log, &self.metrics, permit, handle, options);
        EventBody::new(NewConnection { connection, timers: self.timers, open_event: None }, pressure)
    }

    fn open(&self, channels: &[&str]) -> EventBody {
        self.open_with(
            channels,
            &StreamOptions { positions: PositionStyle::Id, ..StreamOptions::default() },
            None,
        )
    }

    fn publish(&self, entries: Vec<NewEntry>) {
        let entries = self.log.append(entries).unwrap();
        self.subscribers.on_appended(&entries);
    }

    fn deliver_transient(&self, name: &str) -> usize {
        let after = self.log.head().offset;
        self.subscribers.deliver_transient(&[channel(name)], &transient(after))
    }
}

/// A stream without positions on channel `a`, its socket, and the wake-ups of its task.
struct SocketStream {
    stream: EventBody,
    pressure: Arc<Backpressure>,
    wakes: Arc<WakeCounter>,
}

impl SocketStream {
    /// Opens the stream and takes its first chunk.
    fn open(fixture: &Fixture) -> Self {
        let pressure = Arc::new(Backpressure::default());
        let stream = fixture.open_with(&["a"], &StreamOptions::default(), Some(pressure.clone()));
        let mut opened = Self { stream, pressure, wakes: Arc::default() };
        opened.drain();
        opened
    }

    fn drain(&mut self) -> Vec<Bytes> {
        drain(&mut self.stream, &self.wakes)
    }

    fn is_ready(&mut self) -> bool {
        let waker = Waker::from(self.wakes.clone());
        self.stream.poll_chunk(&mut Context::from_waker(&waker)).is_ready()
    }

    /// The socket refuses bytes, and takes them again.
    fn press(&self) {
        self.pressure.pause();
        self.pressure.resume();
    }
}

async fn next(stream: &mut EventBody) -> Option<String> {
    let frame = stream.frame().await?.unwrap();
    Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
}

/// Polls until the stream neither has a chunk nor asks to be polled again.
fn drain(stream: &mut EventBody, wakes: &Arc<WakeCounter>) -> Vec<Bytes> {
    let waker = Waker::from(wakes.clone());
    let mut context = Context::from_waker(&waker);
    let mut chunks = Vec::new();
    for _ in 0..10_000 {
        wakes.take();
        match stream.poll_chunk(&mut context) {
            Poll::Ready(Some(chunk)) => chunks.push(chunk),
            Poll::Ready(None) => return chunks,
            Poll::Pending if wakes.take() == 0 => return chunks,
            Poll::Pending => {}
        }
    }
    panic!("the stream never waits");
}

fn data(chunks: &[Bytes]) -> Vec<String> {
    let mut parser = Parser::new();
    let mut data = Vec::new();
    let mut keep = |item| {
        if let StreamItem::Event(event) = item {
            data.push(event.data);
        }
    };
    parser.feed(&chunks.concat(), &mut keep).unwrap();
    data
}

#[tokio::test(start_paused = true)]
async fn the_first_chunk_leaves_at_once() {
    let mut stream = Fixture::new(memory_log()).open(&["a"]);
    let begun = Instant::now();
    assert!(next(&mut stream).await.unwrap().starts_with("retry: 1000\n: tidings\nid: "));
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken_by_a_keep_alive_with_the_position() {
    let fixture = Fixture::new(memory_log());
    let mut stream = fixture.open(&["a"]);
    next(&mut stream).await;
    for _ in 0..3 {
        let begun = Instant::now();
        fixture.publish(vec![new_entry("foreign", "x"); 5000]);
        let id = fixture.log.head();
        assert_eq!(next(&mut stream).await.unwrap(), format!(": keep-alive\nid: {id}\n\n"));
        assert_eq!(begun.elapsed().as_millis().div_ceil(10), KEEP_ALIVE.as_millis().div_ceil(10));
    }
}

/// Returns the next chunk if there is one without waiting.
fn try_next(stream: &mut EventBody) -> Option<String> {
    let waker = Waker::noop();
    match stream.poll_chunk(&mut Context::from_waker(waker)) {
        Poll::Ready(Some(chunk)) => Some(String::from_utf8(chunk.to_vec()).unwrap()),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_old_enough_says_so_and_ends() {
    let mut fixture = Fixture::new(memory_log());
    fixture.timers.max_age = Some(Duration::from_secs(7));
    let mut stream = fixture.open(&["a"]);
    next(&mut stream).await;
    let begun = Instant::now();
    let end = next(&mut stream).await.unwrap();
    assert!(
        end.starts_with("event: tidings.end\ndata: {\"reason\":\"max_age\",\"reconnect\":true}\nid: "),
        "{end:?}"
    );
    assert!((7000..7010).contains(&begun.elapsed().as_millis()));
    assert_eq!(next(&mut stream).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_asked_to_end_does_so_at_once() {
    let fixture = Fixture::new(memory_log());
    let mut stream = fixture.open(&["a"]);
    next(&mut stream).await;
    let handle = fixture.subscribers.all().remove(0);
    let asking = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let retry = Some(Duration::from_secs(2));
        handle.end(Termination { reason: EndReason::Shutdown, reconnect: true, retry });
    };
    let (end, ()) = tokio::join!(next(&mut stream), asking);
    assert!(end.unwrap().starts_with("retry: 2000\nevent: tidings.end\n"));
    assert_eq!(next(&mut stream).await, None);
}

#[tokio::test(start_paused = true)]
async fn frames_are_joined_in_order_and_none_is_lost() {
    let fixture = Fixture::new(memory_log());
    let mut stream = fixture.open(&["a"]);
    let wakes = Arc::new(WakeCounter::default());
    drain(&mut stream, &wakes);
    let text = |number: usize| format!("{number} {}", "x".repeat(number * 37 % 5000));
    let entries: Vec<NewEntry> = (0..1000).map(|number| new_entry("a", &text(number))).collect();
    fixture.publish(entries);
    assert_eq!(wakes.take(), 1);
    let chunks = drain(&mut stream, &wakes);
    assert!(chunks.iter().all(|chunk| chunk.len() <= 64 << 10));
    assert!(chunks.len() < 60, "{} chunks", chunks.len());
    assert_eq!(data(&chunks), (0..1000).map(text).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_refuses_bytes_is_given_none_until_it_resumes() {
    let fixture = Fixture::new(memory_log());
    let mut socket = SocketStream::open(&fixture);
    assert_eq!(fixture.deliver_transient("a"), 0);
    assert!(socket.pressure.pause());
    fixture.publish(vec![new_entry("a", "pending"); 1000]);
    assert_eq!(socket.drain(), Vec::<Bytes>::new());
    assert_eq!(fixture.deliver_transient("a"), 1, "the stream is behind");
    fixture.publish(vec![urgent(Priority::Critical, "a", "now")]);
    assert_eq!(socket.wakes.take(), 0, "the stream waits for the socket alone");
    socket.pressure.resume();
    assert_eq!(socket.wakes.take(), 1);
    let first = next(&mut socket.stream).await.unwrap();
    assert!(first.starts_with("data: now\n"), "{}", &first[..60]);
    let rest = socket.drain();
    assert_eq!(data(&rest).len() + first.matches("data: ").count(), 1001);
    assert_eq!(fixture.deliver_transient("a"), 0, "the stream is not behind any more");
}

#[tokio::test(start_paused = true)]
async fn under_pressure_the_socket_is_tried_after_every_chunk() {
    let fixture = Fixture::new(memory_log());
    let mut socket = SocketStream::open(&fixture);
    fixture.publish(vec![new_entry("a", &"x".repeat(1000)); 500]);
    socket.press();
    assert!(socket.is_ready());
    socket.wakes.take();
    assert!(!socket.is_ready());
    assert_eq!(socket.wakes.take(), 1);
    assert!(socket.is_ready());
}

#[tokio::test(start_paused = true)]
async fn streams_of_one_socket_do_not_forget_its_refusals_for_each_other() {
    let fixture = Fixture::new(memory_log());
    let mut busy = SocketStream::open(&fixture);
    let mut quiet = fixture.open_with(&["b"], &StreamOptions::default(), Some(busy.pressure.clone()));
    drain(&mut quiet, &busy.wakes);
    fixture.publish(vec![new_entry("a", "pending"); 1000]);
    busy.press();
    drain(&mut quiet, &busy.wakes);
    fixture.publish(vec![urgent(Priority::High, "a", "soon")]);
    assert!(next(&mut busy.stream).await.unwrap().starts_with("data: soon\n"));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_not_polled_for_long_is_behind() {
    let fixture = Fixture::new(memory_log());
    let mut stream = fixture.open(&["a"]);
    let wakes = Arc::new(WakeCounter::default());
    drain(&mut stream, &wakes);
    fixture.publish(vec![new_entry("a", "pending"); 1000]);
    fixture.publish(vec![urgent(Priority::Critical, "a", "now")]);
    tokio::time::advance(STALLED_AFTER).await;
    assert!(next(&mut stream).await.unwrap().starts_with("data: now\n"));
}

#[tokio::test(start_paused = true)]
async fn waiting_costs_no_polls() {
    let fixture = Fixture::new(memory_log());
    let mut stream = fixture.open(&["a"]);
    let mut polls = 0;
    let watch = std::future::poll_fn(|context| {
        polls += 1;
        let _ = stream.poll_chunk(context);
        Poll::<()>::Pending
    });
    let _ = tokio::time::timeout(KEEP_ALIVE.mul_f64(10.5), watch).await;
    // The opening leaves this task without a wake: nothing else polls it.
    assert!(polls <= 2, "{polls} polls");
    let mut chunks = 0;
    let counting = async {
        while next(&mut stream).await.is_some() {
            chunks += 1;
        }
    };
    let _ = tokio::time::timeout(KEEP_ALIVE.mul_f64(10.5), counting).await;
    assert!((10..=11).contains(&chunks), "{chunks} keep-alives");
}

#[tokio::test]
async fn entries_outside_the_cache_are_read_on_another_thread_and_arrive() {
    let fixture = Fixture::new(small_log(0, 100_000));
    fixture.publish((0..1000).map(|number| new_entry("a", &number.to_string())).collect());
    let options = StreamOptions { start: Start::WholeHistory, ..StreamOptions::default() };
    let pressure = Arc::new(Backpressure::default());
    let mut stream = fixture.open_with(&["a"], &options, Some(pressure.clone()));
    let mut chunks = Vec::new();
    for round in 0.. {
        // In every third round the socket refuses bytes while a page loads.
        let ready = (round % 3 == 1).then(|| try_next(&mut stream)).flatten().map(Bytes::from);
        if round % 3 == 1 && ready.is_none() {
            pressure.pause();
            pressure.resume();
        }
        chunks.push(match ready {
            // The page was loaded before the pause.
            Some(chunk) => chunk,
            None => stream.frame().await.unwrap().unwrap().into_data().unwrap(),
        });
        if chunks.last().is_some_and(|chunk| memchr::memmem::find(chunk, b"data: 999\n").is_some()) {
            break;
        }
    }
    assert_eq!(data(&chunks), (0..1000).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_dropped_stream_unregisters() {
    let fixture = Fixture::new(memory_log());
    let stream = fixture.open(&["a", "b.*"]);
    assert_eq!(fixture.subscribers.count(), 1);
    drop(stream);
    assert_eq!((fixture.subscribers.count(), fixture.subscribers.subscriptions(&|_| true).len()), (0, 0));
}

const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

impl Fixture {
    /// Asserts that the stream was dropped about [`WRITE_TIMEOUT`] after `begun`.
    fn assert_timed_out(&self, begun: Instant) {
        assert!(begun.elapsed() >= WRITE_TIMEOUT && begun.elapsed() <= WRITE_TIMEOUT.mul_f64(1.3));
        assert_eq!(self.subscribers.count(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_many_on_a_socket_that_takes_nothing_is_dropped() {
    let fixture = Fixture::new(memory_log());
    let work = async {
        let mut stream = fixture.open(&["a"]);
        next(&mut stream).await;
        let _ = try_next(&mut stream);
        // Its window is closed from here on: hyper does not poll it.
        std::future::pending::<()>().await;
        drop(stream);
    };
    let publishing = async {
        tokio::time::sleep(3 * WRITE_TIMEOUT).await;
        assert_eq!(fixture.subscribers.count(), 1, "no entry waits for the stream yet");
        fixture.publish(vec![new_entry("a", "x")]);
        Instant::now()
    };
    let ((), begun) = tokio::join!(with_stream_deadline(work, WRITE_TIMEOUT), publishing);
    fixture.assert_timed_out(begun);
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_last_chunk_was_never_sent_is_dropped() {
    let fixture = Fixture::new(memory_log());
    let work = async {
        let mut stream = fixture.open(&["a"]);
        next(&mut stream).await;
        std::future::pending::<()>().await;
        drop(stream);
    };
    let begun = Instant::now();
    with_stream_deadline(work, WRITE_TIMEOUT).await;
    fixture.assert_timed_out(begun);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_read_is_never_dropped() {
    let fixture = Fixture::new(memory_log());
    let work = async {
        let mut stream = fixture.open(&["a"]);
        while next(&mut stream).await.is_some() {}
    };
    let busy = async {
        for _ in 0..100 {
            fixture.publish(vec![new_entry("a", "x")]);
            tokio::time::sleep(Duration::from_secs(7)).await;
        }
    };
    tokio::select! {
        () = with_stream_deadline(work, WRITE_TIMEOUT) => panic!("the stream was dropped"),
        () = busy => {}
    }
}
