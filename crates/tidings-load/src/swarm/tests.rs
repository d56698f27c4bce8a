//! A swarm against servers that answer as they are told, over real sockets.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Failure, Notice, Reading, Swarm};
use crate::socket::Target;
use crate::stamp::{Marker, Stamp};

const RUN: u32 = 0xabc;
const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

/// A server that takes one connection after another, answers the next request with each text, and closes at each
/// empty one. It returns the requests.
fn server(answers: Vec<String>) -> (Target, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = std::thread::spawn(move || {
        let (mut requests, mut socket): (Vec<String>, Option<TcpStream>) = (Vec::new(), None);
        for answer in answers {
            if answer.is_empty() {
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
            socket.write_all(answer.as_bytes()).unwrap();
        }
        requests
    });
    (Target { address }, served)
}

fn event(number: u32) -> String {
    let mut text = b"data: ".to_vec();
    Marker::new(RUN).write(Stamp { channel: 0, lane: 0, number, micros: 1 }, 64, &mut text);
    String::from_utf8(text).unwrap() + &format!("\nid: id-{number}\n\n")
}

fn request(headers: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\n{headers}\r\n").into_bytes()
}

/// Polls until something happens that is not the opening of a stream.
#[track_caller]
fn notice(swarm: &mut Swarm) -> Notice {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        swarm.poll(Duration::from_millis(50)).unwrap();
        let mut notices = swarm.notices().into_iter();
        if let Some(notice) = notices.find(|notice| !matches!(notice, Notice::Opened { .. })) {
            return notice;
        }
    }
    panic!("nothing happened");
}

#[test]
fn stream_that_ends_is_resumed_after_its_last_id() {
    let first = format!("{STREAM}{}{}id: half", event(0), event(1));
    let second = format!("{STREAM}{}{}", event(2), event(3));
    let (target, served) = server(vec![first, String::new(), second, String::new()]);
    let mut swarm = Swarm::new(RUN, 1, 1).unwrap();
    let at = swarm.open(target, 0, Reading::Eager, request(""));
    assert!(matches!(notice(&mut swarm), Notice::Closed { was_told: false, failure: None, .. }));
    assert_eq!((swarm.last_id(at), swarm.is_open(at)), (&b"id-1"[..], false));
    swarm.reopen(at, request("Last-Event-ID: id-1\r\n"));
    assert!(matches!(notice(&mut swarm), Notice::Closed { .. }));
    assert!(served.join().unwrap()[1].contains("Last-Event-ID: id-1"));
    assert_eq!((swarm.tally.received, swarm.received(at)), (4, 4));
    assert!(swarm.tally.is_clean());
}

#[test]
fn refusal_brings_its_status_and_body() {
    for answer in [
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
        "HTTP/1.0 403 Forbidden\r\n\r\nno",
    ] {
        let (target, _served) = server(vec![answer.to_owned(), String::new()]);
        let mut swarm = Swarm::new(RUN, 1, 1).unwrap();
        swarm.open(target, 0, Reading::Eager, request(""));
        let refused = notice(&mut swarm);
        let Notice::Refused { failure: Failure::Answer { status: 403, body }, .. } = &refused else {
            panic!("{refused:?}");
        };
        assert_eq!(body, b"no", "{answer}");
    }
}

#[test]
fn stream_is_found_behind_the_answers_to_earlier_requests() {
    let before = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let (target, served) = server(vec![before.to_owned(), format!("{STREAM}{}", event(0)), String::new()]);
    let mut swarm = Swarm::new(RUN, 1, 1).unwrap();
    let requests = [request(""), request("")].concat();
    let at = swarm.open_after(1, target, 0, Reading::Eager, requests);
    assert!(matches!(notice(&mut swarm), Notice::Closed { failure: None, .. }));
    assert_eq!((served.join().unwrap().len(), swarm.received(at)), (2, 1));
}

#[test]
fn page_is_no_stream() {
    let page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi";
    let (target, _served) = server(vec![page.to_owned()]);
    let mut swarm = Swarm::new(RUN, 1, 1).unwrap();
    swarm.open(target, 0, Reading::Eager, request(""));
    let refused = notice(&mut swarm);
    assert!(
        matches!(refused, Notice::Refused { failure: Failure::Answer { status: 200, .. }, .. }),
        "{refused:?}"
    );
}

#[test]
fn publisher_goes_on_over_a_new_connection_and_what_failed_is_not_missed() {
    let ok = |headers: &str| format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: 2\r\n\r\nok");
    let (target, served) = server(vec![
        ok(""),
        ok("Connection: close\r\n"),
        String::new(),
        "HTTP/1.1 429 Slow\r\nContent-Length: 4\r\n\r\nslow".to_owned(),
        ok(""),
    ]);
    let mut swarm = Swarm::new(RUN, 1, 1).unwrap();
    let publisher = swarm.add_publisher(target);
    let mut failures = Vec::new();
    for turn in 0..4 {
        let mut text = Vec::new();
        assert_eq!(swarm.write_event(publisher, 0, 0, 64, &mut text), turn);
        swarm.send(publisher, &request(""));
        while !swarm.is_idle(publisher) {
            swarm.poll(Duration::from_millis(50)).unwrap();
            failures.extend(swarm.notices());
        }
    }
    assert_eq!(served.join().unwrap().len(), 4);
    assert_eq!((swarm.answers, swarm.ledger.published(0)), (3, 3));
    let [Notice::Unpublished { failure: Failure::Answer { status: 429, body }, .. }] = &failures[..] else {
        panic!("{failures:?}");
    };
    assert_eq!(body, b"slow");
}

#[test]
fn connections_beyond_the_ports_of_one_address_come_from_another() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = Target { address: listener.local_addr().unwrap() };
    let _one = target.connect(0, false).unwrap();
    assert_eq!(listener.accept().unwrap().1.ip().to_string(), "127.0.0.1");
    if cfg!(target_os = "linux") {
        let _other = target.connect(10_000, false).unwrap();
        assert_eq!(listener.accept().unwrap().1.ip().to_string(), "127.0.0.2");
    }
}
