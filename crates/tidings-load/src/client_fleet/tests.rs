//! A fleet against scripted servers, over real sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{ClientFleet, FleetEvent, ReadPace, RequestFailure};
use crate::sequences::DeliveryCounts;
use crate::socket::connect;
use crate::stamp::{Stamp, StampCodec};

const RUN: u32 = 0xabc;
const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

/// Creates a fleet of one channel, and a server of one connection after another: it answers the next request with each
/// text, and closes at each empty text. The thread returns the requests.
fn fleet(answers: Vec<String>) -> (ClientFleet, SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = std::thread::spawn(move || {
        let (mut requests, mut socket): (Vec<String>, Option<TcpStream>) = (Vec::new(), None);
        for response in answers {
            if response.is_empty() {
                socket = None;
                continue;
            }
            let socket = socket.get_or_insert_with(|| listener.accept().unwrap().0);
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") {
                socket.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            requests.push(String::from_utf8(request).unwrap());
            socket.write_all(response.as_bytes()).unwrap();
        }
        requests
    });
    (ClientFleet::new(RUN, 1, 1).unwrap(), address, served)
}

fn event(number: u32) -> String {
    let mut text = b"data: ".to_vec();
    StampCodec::new(RUN).write(Stamp { channel: 0, producer: 0, number, micros: 1 }, 64, &mut text);
    String::from_utf8(text).unwrap() + &format!("\nid: id-{number}\n\n")
}

fn request(headers: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\n{headers}\r\n").into_bytes()
}

/// Polls until an event other than the opening of a stream.
#[track_caller]
fn notice(fleet: &mut ClientFleet) -> FleetEvent {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        fleet.poll(Duration::from_millis(50)).unwrap();
        let mut events = fleet.events().into_iter();
        if let Some(notice) = events.find(|notice| !matches!(notice, FleetEvent::Opened { .. })) {
            return notice;
        }
    }
    panic!("nothing happened");
}

#[test]
fn stream_that_ends_is_resumed_after_its_last_id() {
    let first = format!("{STREAM}{}{}id: half", event(0), event(1));
    let second = format!("{STREAM}{}{}", event(2), event(3));
    let (mut fleet, address, served) = fleet(vec![first, String::new(), second, String::new()]);
    let at = fleet.open(address, 0, ReadPace::Eager, &request(""));
    assert!(matches!(notice(&mut fleet), FleetEvent::Closed { was_announced: false, failure: None, .. }));
    let stream = &fleet.streams()[at];
    assert_eq!((stream.last_id(), stream.is_open()), (&b"id-1"[..], false));
    fleet.reopen(at, &request("Last-Event-ID: id-1\r\n"));
    assert!(matches!(notice(&mut fleet), FleetEvent::Closed { .. }));
    assert!(served.join().unwrap()[1].contains("Last-Event-ID: id-1"));
    assert_eq!((fleet.counts.received, fleet.streams()[at].received), (4, 4));
    let DeliveryCounts { lost, repeated, reordered, .. } = fleet.counts;
    assert_eq!((lost, repeated, reordered), (0, 0, 0));
}

#[test]
fn refusal_brings_its_status_and_body() {
    for (expected, text, response) in [
        (403, "no", "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"),
        (403, "no", "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"),
        (403, "no", "HTTP/1.0 403 Forbidden\r\n\r\nno"),
        // A page in place of a stream.
        (200, "hi", "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi"),
    ] {
        let (mut fleet, address, _served) = fleet(vec![response.to_owned(), String::new()]);
        fleet.open(address, 0, ReadPace::Eager, &request(""));
        let refused = notice(&mut fleet);
        let FleetEvent::Refused { failure: RequestFailure::Status { status, body }, .. } = &refused else {
            panic!("{refused:?}");
        };
        assert_eq!((*status, &body[..]), (expected, text.as_bytes()), "{response}");
    }
}

#[test]
fn stream_is_found_behind_the_answers_to_earlier_requests() {
    let before = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let answers = vec![before.to_owned(), format!("{STREAM}{}", event(0)), String::new()];
    let (mut fleet, address, served) = fleet(answers);
    let requests = [request(""), request("")].concat();
    let at = fleet.open(address, 0, ReadPace::Eager, &requests);
    fleet.skip_responses(at, 1);
    assert!(matches!(notice(&mut fleet), FleetEvent::Closed { failure: None, .. }));
    assert_eq!((served.join().unwrap().len(), fleet.streams()[at].received), (2, 1));
}

#[test]
fn publisher_reconnects_and_failed_events_are_not_missed() {
    let ok = |headers: &str| format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: 2\r\n\r\nok");
    let (mut fleet, address, served) = fleet(vec![
        ok(""),
        ok("Connection: close\r\n"),
        String::new(),
        "HTTP/1.1 429 Slow\r\nContent-Length: 4\r\n\r\nslow".to_owned(),
        ok(""),
    ]);
    let publisher = fleet.add_publisher(address);
    let mut failures = Vec::new();
    for turn in 0..4 {
        let mut text = Vec::new();
        assert_eq!(fleet.write_event(publisher, 64, &mut text).number, turn);
        fleet.send(publisher, &request(""));
        while !fleet.publishers()[publisher].is_idle() {
            fleet.poll(Duration::from_millis(50)).unwrap();
            failures.extend(fleet.events());
        }
    }
    assert_eq!(served.join().unwrap().len(), 4);
    assert_eq!((fleet.responses, fleet.sequences.published(0)), (3, 3));
    let [FleetEvent::Unpublished { failure: RequestFailure::Status { status: 429, body }, .. }] =
        &failures[..]
    else {
        panic!("{failures:?}");
    };
    assert_eq!(body, b"slow");
}

#[test]
fn each_lane_of_each_channel_has_one_publisher() {
    for (channels, publishers, lanes) in
        [(1, 1, 1), (1, 8, 8), (3, 8, 3), (8, 8, 1), (9, 8, 1), (100, 8, 1), (1_000, 7, 1)]
    {
        let mut fleet = ClientFleet::new(RUN, channels, publishers).unwrap();
        assert_eq!(fleet.sequences.cursors(0).len(), lanes, "{channels} {publishers}");
        (0..publishers).for_each(|_| _ = fleet.add_publisher(([127, 0, 0, 1], 1).into()));
        let mut owners = BTreeMap::new();
        for publisher in (0..publishers).flat_map(|publisher| vec![publisher; channels]) {
            let Stamp { channel, producer, .. } = fleet.write_event(publisher, 64, &mut Vec::new());
            assert!(usize::from(producer) < lanes);
            let owner = *owners.entry((channel, producer)).or_insert(publisher);
            assert_eq!(owner, publisher, "{channels} {publishers}");
        }
        let served: BTreeSet<u32> = owners.keys().map(|(channel, _)| *channel).collect();
        assert_eq!(served.len(), channels);
    }
}

#[test]
fn connections_beyond_the_ports_of_one_address_come_from_another() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let _one = connect(address, 0, false).unwrap();
    assert_eq!(listener.accept().unwrap().1.ip().to_string(), "127.0.0.1");
    if cfg!(target_os = "linux") {
        let _other = connect(address, 10_000, false).unwrap();
        assert_eq!(listener.accept().unwrap().1.ip().to_string(), "127.0.0.2");
    }
}
