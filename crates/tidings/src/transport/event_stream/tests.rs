//! Streams as a transport polls them, with a clock that stands until everything waits.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    task::{Wake, Waker},
};

use http_body_util::BodyExt;
use tidings_protocol::{
    Subscription,
    sse::{Parser, StreamItem},
};

use super::*;
use crate::{
    auth::SubscribePermit,
    broker::DeliverySink,
    connection::{
        PositionStyle, Start, StreamOptions,
        tests::{Toy, draft, memory_log, name, open_log, subscriptions},
    },
    hub::Subscribers,
    limits::{ConnectionLimits, PermitHolder},
    log::{
        Log,
        entry::{NewEntry, TransientEvent},
    },
};

const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A log, and seats that are told of what is appended.
struct Desk {
    log: Arc<Log>,
    subscribers: Arc<Subscribers>,
    metrics: Arc<Metrics>,
    times: StreamTimers,
}

impl Desk {
    fn new(log: Arc<Log>) -> Self {
        let times = StreamTimers {
            keep_alive: KEEP_ALIVE,
            max_age: None,
            time_left: None,
            retry: Duration::from_secs(1),
        };
        Self { log, subscribers: Arc::default(), metrics: Arc::new(Metrics::new()), times }
    }

    fn open_with(
        &self,
        asked: &[&str],
        options: &StreamOptions,
        pressure: Option<Arc<Backpressure>>,
    ) -> EventBody {
        let subscriptions: Arc<[Subscription]> = subscriptions(asked);
        let handle = ConnectionHandle::new(
            ConnectionId(self.subscribers.count() as u128),
            &SubscribePermit::for_test(subscriptions),
            false,
        );
        let slot = ConnectionLimits::up_to(100).acquire(PermitHolder::default()).unwrap();
        let connection = self.subscribers.open_connection(&self.log, &self.metrics, slot, handle, options);
        EventBody::new(
            NewConnection { connection, times: self.times, greeting: None },
            self.metrics.clone(),
            pressure,
        )
    }

    fn open(&self, asked: &[&str]) -> EventBody {
        self.open_with(
            asked,
            &StreamOptions { positions: PositionStyle::Id, ..StreamOptions::default() },
            None,
        )
    }

    fn publish(&self, drafts: Vec<NewEntry>) {
        let entries = self.log.append(drafts).unwrap();
        self.subscribers.on_appended(&entries);
    }

    fn pass_unstored(&self, channel: &str) -> usize {
        let after = self.log.head().offset;
        self.subscribers
            .deliver_transient(&[name(channel)], &TransientEvent { after, frame: "data: u\n\n".into() })
    }
}

async fn next(stream: &mut EventBody) -> Option<String> {
    let frame = stream.frame().await?.unwrap();
    Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
}

/// Counts the wakes of a task that is polled by hand.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Polls until the stream neither has a chunk nor asks to be polled again.
fn settle(stream: &mut EventBody, bell: &Arc<Bell>) -> Vec<Bytes> {
    let waker = Waker::from(bell.clone());
    let mut context = Context::from_waker(&waker);
    let mut chunks = Vec::new();
    for _ in 0..10_000 {
        bell.0.store(0, Ordering::Relaxed);
        match stream.poll_chunk(&mut context) {
            Poll::Ready(Some(chunk)) => chunks.push(chunk),
            Poll::Ready(None) => return chunks,
            Poll::Pending if bell.0.load(Ordering::Relaxed) == 0 => return chunks,
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
    let mut stream = Desk::new(memory_log()).open(&["a"]);
    let begun = Instant::now();
    assert!(next(&mut stream).await.unwrap().starts_with("retry: 1000\n: tidings\nid: "));
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken_by_a_keep_alive_with_the_position() {
    let desk = Desk::new(memory_log());
    let mut stream = desk.open(&["a"]);
    next(&mut stream).await;
    for _ in 0..3 {
        let begun = Instant::now();
        desk.publish(vec![draft("foreign", "x"); 5000]);
        let id = desk.log.head();
        assert_eq!(next(&mut stream).await.unwrap(), format!(": keep-alive\nid: {id}\n\n"));
        assert_eq!(begun.elapsed().as_millis().div_ceil(10), KEEP_ALIVE.as_millis().div_ceil(10));
    }
}

#[tokio::test(start_paused = true)]
async fn the_position_is_renewed_though_only_events_without_an_id_flow() {
    let desk = Desk::new(memory_log());
    let mut stream = desk.open(&["a"]);
    next(&mut stream).await;
    let mut waiting = at_hand(&mut stream);
    assert!(waiting.is_none());
    let begun = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert_eq!(desk.pass_unstored("a"), 0);
        waiting = at_hand(&mut stream);
        let chunk = waiting.expect("an unstored event is at hand");
        if chunk.contains("id: ") {
            assert!(!chunk.contains(": keep-alive"), "the stream was not silent: {chunk}");
            break;
        }
        let more = at_hand(&mut stream);
        if let Some(more) = more {
            assert!(more.starts_with("id: "), "the stream was not silent: {more}");
            break;
        }
        assert!(begun.elapsed() <= KEEP_ALIVE + Duration::from_secs(1), "the id grew old");
    }
    assert!(begun.elapsed() >= KEEP_ALIVE);
}

/// What is at hand without waiting.
fn at_hand(stream: &mut EventBody) -> Option<String> {
    let waker = Waker::noop();
    match stream.poll_chunk(&mut Context::from_waker(waker)) {
        Poll::Ready(Some(chunk)) => Some(String::from_utf8(chunk.to_vec()).unwrap()),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_old_enough_says_so_and_ends() {
    let mut desk = Desk::new(memory_log());
    desk.times.max_age = Some(Duration::from_secs(7));
    let mut stream = desk.open(&["a"]);
    next(&mut stream).await;
    let begun = Instant::now();
    let end = next(&mut stream).await.unwrap();
    assert!(
        end.starts_with("event: tidings.end\ndata: {\"reason\":\"max_age\",\"reconnect\":true}\nid: "),
        "{end:?}"
    );
    assert!((7000..7010).contains(&begun.elapsed().as_millis()));
    assert_eq!(next(&mut stream).await, None);
    assert!(desk.metrics_text().contains("tidings_streams_ended_total{reason=\"max_age\"} 1"));
}

impl Desk {
    fn metrics_text(&self) -> String {
        self.metrics.text(0, crate::metrics::LogGauges::default())
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_asked_to_end_does_so_at_once() {
    let desk = Desk::new(memory_log());
    let mut stream = desk.open(&["a"]);
    next(&mut stream).await;
    let handle = desk.subscribers.all().remove(0);
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
    let desk = Desk::new(memory_log());
    let mut stream = desk.open(&["a"]);
    let bell = Arc::new(Bell::default());
    settle(&mut stream, &bell);
    let text = |number: usize| format!("{number} {}", "x".repeat(number * 37 % 5000));
    let drafts: Vec<NewEntry> = (0..1000).map(|number| draft("a", &text(number))).collect();
    desk.publish(drafts);
    assert_eq!(bell.0.load(Ordering::Relaxed), 1);
    let chunks = settle(&mut stream, &bell);
    assert!(chunks.iter().all(|chunk| chunk.len() <= 64 << 10));
    assert!(chunks.len() < 60, "{} chunks", chunks.len());
    assert_eq!(data(&chunks), (0..1000).map(text).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_refuses_bytes_is_given_none_until_it_gives_way() {
    let desk = Desk::new(memory_log());
    let pressure = Arc::new(Backpressure::default());
    let mut stream = desk.open_with(&["a"], &StreamOptions::default(), Some(pressure.clone()));
    let bell = Arc::new(Bell::default());
    settle(&mut stream, &bell);
    assert_eq!(desk.pass_unstored("a"), 0);
    assert!(pressure.pause());
    desk.publish(vec![draft("a", "pending"); 1000]);
    assert_eq!(settle(&mut stream, &bell), Vec::<Bytes>::new());
    assert_eq!(desk.pass_unstored("a"), 1, "it is behind");
    let critical = NewEntry { priority: tidings_protocol::Priority::Critical, ..draft("a", "now") };
    desk.publish(vec![critical]);
    assert_eq!(bell.0.swap(0, Ordering::Relaxed), 0, "it waits for the socket alone");
    pressure.resume();
    assert_eq!(bell.0.load(Ordering::Relaxed), 1);
    let first = next(&mut stream).await.unwrap();
    assert!(first.starts_with("data: now\n"), "{}", &first[..60]);
    let rest = settle(&mut stream, &bell);
    assert_eq!(data(&rest).len() + first.matches("data: ").count(), 1001);
    assert_eq!(desk.pass_unstored("a"), 0, "it is not behind any more");
}

#[tokio::test(start_paused = true)]
async fn under_pressure_the_socket_is_tried_after_every_chunk() {
    let desk = Desk::new(memory_log());
    let pressure = Arc::new(Backpressure::default());
    let mut stream = desk.open_with(&["a"], &StreamOptions::default(), Some(pressure.clone()));
    let bell = Arc::new(Bell::default());
    settle(&mut stream, &bell);
    desk.publish(vec![draft("a", &"x".repeat(1000)); 500]);
    pressure.pause();
    pressure.resume();
    let waker = Waker::from(bell.clone());
    let mut context = Context::from_waker(&waker);
    assert!(stream.poll_chunk(&mut context).is_ready());
    bell.0.store(0, Ordering::Relaxed);
    assert!(stream.poll_chunk(&mut context).is_pending());
    assert_eq!(bell.0.load(Ordering::Relaxed), 1);
    assert!(stream.poll_chunk(&mut context).is_ready());
}

#[tokio::test(start_paused = true)]
async fn streams_of_one_socket_do_not_forget_its_refusals_for_each_other() {
    let desk = Desk::new(memory_log());
    let pressure = Arc::new(Backpressure::default());
    let options = StreamOptions::default();
    let mut busy = desk.open_with(&["a"], &options, Some(pressure.clone()));
    let mut quiet = desk.open_with(&["b"], &options, Some(pressure.clone()));
    let bell = Arc::new(Bell::default());
    settle(&mut busy, &bell);
    settle(&mut quiet, &bell);
    desk.publish(vec![draft("a", "pending"); 1000]);
    pressure.pause();
    pressure.resume();
    settle(&mut quiet, &bell);
    desk.publish(vec![NewEntry { priority: tidings_protocol::Priority::High, ..draft("a", "soon") }]);
    assert!(next(&mut busy).await.unwrap().starts_with("data: soon\n"));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_polled_for_long_is_behind() {
    let desk = Desk::new(memory_log());
    let mut stream = desk.open(&["a"]);
    let bell = Arc::new(Bell::default());
    settle(&mut stream, &bell);
    desk.publish(vec![draft("a", "pending"); 1000]);
    desk.publish(vec![NewEntry { priority: tidings_protocol::Priority::Critical, ..draft("a", "now") }]);
    tokio::time::advance(STALLED_AFTER).await;
    assert!(next(&mut stream).await.unwrap().starts_with("data: now\n"));
}

#[tokio::test(start_paused = true)]
async fn waiting_costs_no_polls() {
    let desk = Desk::new(memory_log());
    let mut stream = desk.open(&["a"]);
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
async fn what_is_not_in_memory_is_read_off_the_thread_and_arrives() {
    let settings = crate::config::LogSettings {
        durability: crate::config::Durability::Memory,
        cache_bytes: 0,
        ..Default::default()
    };
    let desk = Desk::new(open_log(&settings, None, &Toy::new(1)));
    desk.publish((0..1000).map(|number| draft("a", &number.to_string())).collect());
    let options = StreamOptions { start: Start::WholeHistory, ..StreamOptions::default() };
    let pressure = Arc::new(Backpressure::default());
    let mut stream = desk.open_with(&["a"], &options, Some(pressure.clone()));
    let mut chunks = Vec::new();
    for round in 0.. {
        // The socket refuses now and then while a page is read.
        let at_hand = (round % 3 == 1).then(|| at_hand(&mut stream)).flatten().map(Bytes::from);
        if round % 3 == 1 && at_hand.is_none() {
            pressure.pause();
            pressure.resume();
        }
        chunks.push(match at_hand {
            // The page was read before it was asked for.
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
async fn a_dropped_stream_leaves_its_seat() {
    let desk = Desk::new(memory_log());
    let stream = desk.open(&["a", "b.*"]);
    assert_eq!(desk.subscribers.count(), 1);
    drop(stream);
    assert_eq!((desk.subscribers.count(), desk.subscribers.subscriptions(&|_| true).len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn positions_that_are_not_wanted_are_never_written() {
    let desk = Desk::new(memory_log());
    let mut stream = desk.open_with(&["a"], &StreamOptions::default(), None);
    assert_eq!(next(&mut stream).await.unwrap(), "retry: 1000\n: tidings\n");
    assert_eq!(next(&mut stream).await.unwrap(), ": keep-alive\n");
    // The last frame counts, with an id or without one.
    let begun = Instant::now();
    assert_eq!(at_hand(&mut stream), None);
    tokio::time::sleep(KEEP_ALIVE / 2).await;
    assert_eq!(desk.pass_unstored("a"), 0);
    assert_eq!(next(&mut stream).await.unwrap(), "data: u\n\n");
    assert_eq!(next(&mut stream).await.unwrap(), ": keep-alive\n");
    assert!(begun.elapsed() >= KEEP_ALIVE.mul_f64(1.5));
}

const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::test(start_paused = true)]
async fn a_stream_of_many_on_a_socket_that_takes_nothing_is_dropped() {
    let desk = Arc::new(Desk::new(memory_log()));
    let inner = desk.clone();
    let task = tokio::spawn(with_stream_deadline(
        async move {
            let mut stream = inner.open(&["a"]);
            next(&mut stream).await;
            let _ = at_hand(&mut stream);
            // Its window is closed from here on: it is never polled.
            std::future::pending::<()>().await;
            drop(stream);
        },
        WRITE_TIMEOUT,
    ));
    tokio::time::sleep(3 * WRITE_TIMEOUT).await;
    assert_eq!(desk.subscribers.count(), 1, "nothing waits for it yet");
    let begun = Instant::now();
    desk.publish(vec![draft("a", "x")]);
    task.await.unwrap();
    assert!(begun.elapsed() >= WRITE_TIMEOUT && begun.elapsed() <= WRITE_TIMEOUT.mul_f64(1.3));
    assert_eq!(desk.subscribers.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_last_chunk_was_never_passed_on_is_dropped() {
    let desk = Arc::new(Desk::new(memory_log()));
    let inner = desk.clone();
    let work = async move {
        let mut stream = inner.open(&["a"]);
        next(&mut stream).await;
        std::future::pending::<()>().await;
        drop(stream);
    };
    let begun = Instant::now();
    with_stream_deadline(work, WRITE_TIMEOUT).await;
    assert!(begun.elapsed() >= WRITE_TIMEOUT && begun.elapsed() <= WRITE_TIMEOUT.mul_f64(1.3));
    assert_eq!(desk.subscribers.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_read_is_never_dropped() {
    let desk = Arc::new(Desk::new(memory_log()));
    let inner = desk.clone();
    let reading = with_stream_deadline(
        async move {
            let mut stream = inner.open(&["a"]);
            while next(&mut stream).await.is_some() {}
        },
        WRITE_TIMEOUT,
    );
    let busy = async {
        for _ in 0..100 {
            desk.publish(vec![draft("a", "x")]);
            tokio::time::sleep(Duration::from_secs(7)).await;
        }
    };
    tokio::select! {
        () = reading => panic!("it was dropped"),
        () = busy => {}
    }
}
