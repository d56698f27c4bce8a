//! Clients that read slowly or not at all: overtaking events, superseded events, and the isolation of other clients.

use std::time::{Duration, Instant};

use crate::prelude::*;

/// Text that makes an event about this large.
const PADDING: usize = 1000;

/// Lets a client read at full speed: with a small buffer the kernel would deliver the bytes slowly.
fn restore_buffer(reader: &SseReader) {
    socket2::SockRef::from(&reader.connection.socket).set_recv_buffer_size(1 << 20).unwrap();
}

fn padded(name: &str) -> String {
    format!("{name} {}", "x".repeat(PADDING))
}

fn message(name: &str) -> Value {
    json!({"channels": ["a"], "data": padded(name)})
}

/// Publishes more events than a socket holds unread, named by their numbers.
fn fill(hub: &TestHub, range: std::ops::Range<usize>) {
    for start in range.clone().step_by(2000) {
        hub.publish_batch((start..range.end.min(start + 2000)).map(|n| message(&n.to_string())));
    }
}

/// Reads the next event, and returns its name without the padding.
#[track_caller]
fn next_name(reader: &mut SseReader) -> String {
    reader.data().split(' ').next().unwrap().to_owned()
}

/// Names of the next events through this one.
#[track_caller]
fn names_through(reader: &mut SseReader, last: &str) -> Vec<String> {
    let mut names = vec![next_name(reader)];
    while names.last().is_some_and(|name| name != last) {
        names.push(next_name(reader));
    }
    names
}

/// Waits until the sockets of so many clients refuse bytes.
fn wait_for_backpressure(hub: &TestHub, readers: usize) {
    eventually("the sockets refuse bytes", || {
        hub.metric("tidings_socket_backpressure_total") >= readers as f64
    });
}

/// Bytes in the kernel, in both sockets of a connection.
fn in_kernel(reader: &SseReader) -> usize {
    let client = reader.connection.socket.local_addr().unwrap().port();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next().unwrap(), 16).unwrap();
    let mine = rows.filter(|row| port(row[1]) == client || port(row[2]) == client);
    let queued = mine.map(|row| {
        let (sent, received) = row[4].split_once(':').unwrap();
        usize::from_str_radix(sent, 16).unwrap() + usize::from_str_radix(received, 16).unwrap()
    });
    queued.sum()
}

#[test]
fn critical_event_overtakes_ten_thousand_pending_ones() {
    let hub = TestHub::in_memory(&[]);
    let mut reader = hub.open_slow_stream("/api/v1/events/a");
    fill(&hub, 0..10_000);
    wait_for_backpressure(&hub, 1);
    hub.post("/api/v1/events/a?priority=critical", "critical").assert_status(200);
    let queued = in_kernel(&reader);
    restore_buffer(&reader);
    let (mut bytes, mut before) = (0, 0);
    loop {
        let data = reader.data();
        if data == "critical" {
            break;
        }
        bytes += data.len();
        before += 1;
    }
    // Bytes in the kernel, a chunk that was half written, and the first chunk that was read from the log again.
    let bytes_max = queued + (128 << 10);
    assert!(bytes <= bytes_max, "{bytes} bytes came before it; {queued} were in the kernel");
    assert!(before < 1000, "{before} events came before it");
    let rest: Vec<String> = (before..10_000).map(|_| next_name(&mut reader)).collect();
    assert_eq!(rest, numbers(before..10_000));
    hub.publish("a", "end");
    assert_eq!(reader.data(), "end", "no event comes twice");
}

#[test]
fn client_that_is_behind_gets_the_newest_event_of_a_key_and_no_low_events() {
    let hub = TestHub::in_memory(&[]);
    let mut reader = hub.open_slow_stream("/api/v1/events/a");
    let mut prompt = hub.subscribe("/api/v1/events/a");
    fill(&hub, 0..4000);
    wait_for_backpressure(&hub, 1);
    prompt.data_of_next(4000);
    for n in 0..20 {
        let about = |kind: &str| format!("{kind}{n}");
        hub.publish_batch([
            json!({"channels": ["a"], "data": about("key"), "key": "k"}),
            json!({"channels": ["a"], "data": about("low"), "priority": "low"}),
            json!({"channels": ["a"], "data": about("normal")}),
        ]);
        assert_eq!(prompt.data_of_next(3), [about("key"), about("low"), about("normal")]);
        hub.post("/api/v1/events/a?store=false", "past the log").assert_status(200);
        assert_eq!(prompt.data(), "past the log");
    }
    assert_eq!(hub.metric("tidings_transient_events_dropped_total"), 20.0);
    hub.publish("a", "end");
    restore_buffer(&reader);
    let seen = names_through(&mut reader, "end");
    let mut expected = numbers(0..4000);
    expected.extend((0..19).map(|n| format!("normal{n}")));
    expected.extend(["key19", "normal19", "end"].map(str::to_owned));
    assert_eq!(seen, expected);
    assert_eq!(hub.metric("tidings_events_superseded_total"), 19.0);
    assert_eq!(hub.metric("tidings_events_skipped_total"), 20.0);
    // When it is not behind any more, it gets every event.
    hub.post("/api/v1/events/a?store=false", "past the log").assert_status(200);
    assert_eq!(reader.data(), "past the log");
}

#[test]
fn stream_with_overtaking_events_resumes_with_everything_once() {
    const READERS: usize = 4;
    let hub = TestHub::in_memory(&[]);
    let readers = [(); READERS].map(|()| hub.open_slow_stream("/api/v1/events/a"));
    fill(&hub, 0..3000);
    wait_for_backpressure(&hub, READERS);
    for n in 0..12 {
        let priority = if n % 2 == 0 { "critical" } else { "high" };
        hub.post(&format!("/api/v1/events/a?priority={priority}"), format!("urgent{n}")).assert_status(200);
    }
    let mut expected = numbers(0..3000);
    expected.extend((0..12).map(|n| format!("urgent{n}")));
    for (index, mut reader) in readers.into_iter().enumerate() {
        // Each is closed a little later after the first overtaking event.
        restore_buffer(&reader);
        let mut seen = names_through(&mut reader, "urgent0");
        assert!(seen.len() < 3000, "a critical event overtook");
        seen.extend((0..index * 150).map(|_| next_name(&mut reader)));
        let id = reader.last_event_id().to_owned();
        drop(reader);
        assert!(id.len() <= 256 && id.contains('.'), "{id} names what overtook");
        let mut resumed = hub.resume("/api/v1/events/a", &id);
        assert_eq!(resumed.position(), id);
        hub.publish("a", format!("end{index}"));
        let rest = names_through(&mut resumed, &format!("end{index}"));
        seen.extend(rest.into_iter().filter(|name| !name.starts_with("end")));
        let once: std::collections::BTreeSet<&String> = seen.iter().collect();
        let missing: Vec<&String> = expected.iter().filter(|one| !once.contains(one)).collect();
        assert!(missing.is_empty(), "reader {index} misses {missing:?}");
        assert_eq!(once.len(), seen.len(), "reader {index} has something twice");
    }
}

#[test]
fn client_that_reads_nothing_is_closed_at_the_write_timeout_and_others_do_not_wait() {
    let hub = TestHub::in_memory(&[("TIDINGS_STREAM_WRITE_TIMEOUT", "1s")]);
    let stuck = hub.open_slow_stream("/api/v1/events/a");
    let mut prompt = hub.subscribe("/api/v1/events/a");
    for start in (0..1000).step_by(50) {
        fill(&hub, start..start + 50);
        prompt.data_of_next(50);
    }
    wait_for_backpressure(&hub, 1);
    let begun = Instant::now();
    let mut n = 1000;
    while hub.connections("a") == 2 {
        fill(&hub, n..n + 1);
        assert_eq!(next_name(&mut prompt), n.to_string());
        n += 1;
        assert!(begun.elapsed() < Duration::from_secs(10), "the write timeout closed no stream");
    }
    assert_eq!(hub.metric("tidings_write_timeouts_total"), 1.0);
    drop(stuck);
    fill(&hub, n..n + 1);
    assert_eq!(next_name(&mut prompt), n.to_string());
}

#[test]
fn client_that_reads_slowly_is_not_closed() {
    let hub = TestHub::in_memory(&[("TIDINGS_STREAM_WRITE_TIMEOUT", "1s")]);
    let mut slow = hub.open_slow_stream("/api/v1/events/a");
    fill(&hub, 0..3000);
    wait_for_backpressure(&hub, 1);
    restore_buffer(&slow);
    let begun = Instant::now();
    for n in 0..3000 {
        assert_eq!(next_name(&mut slow), n.to_string());
        if n % 100 == 0 {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    assert!(begun.elapsed() > Duration::from_secs(2), "the client was not slower than the write timeout");
    assert_eq!(hub.metric("tidings_write_timeouts_total"), 0.0);
}

#[test]
fn stalled_stream_over_http_2_is_reset_alone() {
    let hub = TestHub::in_memory(&[("TIDINGS_STREAM_WRITE_TIMEOUT", "1s")]);
    let mut client = Http2::with_window(&hub, Some(65_535));
    let [mut stuck, mut prompt] = ["a", "b"].map(|channel| {
        let response = client.get(&format!("/api/v1/events/{channel}"), &[]);
        let mut reader = client.reader(response);
        reader.frame().unwrap().unwrap();
        reader
    });
    fill(&hub, 0..400);
    eventually("the stalled stream is closed", || hub.connections("a") == 0);
    let id = hub.publish("b", "well");
    assert_eq!(prompt.frame().unwrap().unwrap(), format!("data: well\nid: {id}\n\n"));
    let is_reset = std::iter::from_fn(|| stuck.frame()).any(|frame| frame.is_err());
    assert!(is_reset, "the stream was reset, not finished");
}
