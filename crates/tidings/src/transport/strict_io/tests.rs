//! Bytes that hyper reads from clients with invalid, slow and valid requests.

use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, timeout};

use super::*;
use crate::error::Code;

const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

fn pair() -> (DuplexStream, StrictIo<DuplexStream>) {
    let (client, server) = duplex(1 << 20);
    let deadline = Instant::now() + HEAD_TIMEOUT;
    (client, StrictIo::new(server, HEAD_TIMEOUT, deadline, Activity::default(), RefusedHead::default()))
}

/// Reads all bytes, at most `portion` at a time.
async fn read(strict: &mut StrictIo<DuplexStream>, portion: usize) -> Vec<u8> {
    let mut read = Vec::new();
    let mut buffer = vec![0; portion];
    loop {
        match strict.read(&mut buffer).await.unwrap() {
            0 => return read,
            bytes => read.extend_from_slice(&buffer[..bytes]),
        }
    }
}

/// Reads on after `read`, through the request that replaces another. After it, neither bytes nor an end are read.
async fn read_stand_in(strict: &mut StrictIo<DuplexStream>, mut read: Vec<u8>) -> Vec<u8> {
    let mut buffer = vec![0; 1000];
    while !read.ends_with(b"Connection: close\r\n\r\n") {
        let bytes = strict.read(&mut buffer).await.unwrap();
        assert!(bytes > 0, "hyper would close before it has answered");
        read.extend_from_slice(&buffer[..bytes]);
    }
    assert!(strict.read(&mut buffer).now_or_never().is_none());
    read
}

#[tokio::test]
async fn good_requests_are_read_as_they_were_sent() {
    let requests = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n\0\n\rGET / HTTP/1.1\r\n\r\n";
    for portion in [1, 2, 7, 1000] {
        let (mut client, mut strict) = pair();
        client.write_all(requests).await.unwrap();
        drop(client);
        assert_eq!(read(&mut strict, portion).await, requests);
    }
}

#[tokio::test]
async fn rest_behind_a_fault_of_a_body_is_replaced_however_little_is_read_at_a_time() {
    let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (good, bad, instead) in [
        (format!("{chunked}3"), "x\r\nabc", "\0"),
        (format!("{chunked}3;a"), "\nabc", "\n"),
        (format!("{chunked}0\r\nX: a"), "\n\r\n", "\0\r\n\r\n"),
    ] {
        for portion in [1, 3, 1000] {
            let (mut client, mut strict) = pair();
            client.write_all(format!("{good}{bad}").as_bytes()).await.unwrap();
            // The client sends more: hyper still reads the end.
            let read = timeout(HEAD_TIMEOUT, read(&mut strict, portion)).await.unwrap();
            assert_eq!(String::from_utf8(read).unwrap(), format!("{good}{instead}"));
            drop(client);
        }
    }
}

#[tokio::test]
async fn request_of_the_hub_stands_in_for_a_head_at_fault_wherever_it_is_cut() {
    let good = "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(101));
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(65_534));
    for (bad, code) in [
        ("GET / HTTP/1.1\nrest", Code::BadRequest),
        ("GET / HTTP/1.1\r\nX: a\nrest", Code::BadRequest),
        ("GET / HTTP/1.2\r\n\r\n", Code::BadRequest),
        ("GET /\r\n\r\n", Code::BadRequest),
        ("PRI * HTTP/2.0\r\n\r\nGET / HTTP/1.1\r\n\r\n", Code::BadRequest),
        ("GET  / HTTP/1.1\r\n\r\n", Code::BadRequest),
        ("G@T / HTTP/1.1\r\n\r\n", Code::BadRequest),
        (&many, Code::HeadTooLarge),
        (&long, Code::UriTooLong),
    ] {
        for good in ["", good, "\r\n"] {
            let whole = format!("{good}{bad}");
            let cuts = (0..whole.len()).step_by(1 + whole.len() / 50);
            for cut in cuts {
                let (mut client, mut strict) = pair();
                client.write_all(&whole.as_bytes()[..cut]).await.unwrap();
                let mut seen = vec![0; 1000];
                let first = strict.read(&mut seen).now_or_never();
                seen.truncate(first.map_or(0, Result::unwrap));
                client.write_all(&whole.as_bytes()[cut..]).await.unwrap();
                let seen = timeout(HEAD_TIMEOUT, read_stand_in(&mut strict, seen)).await.unwrap();
                let seen = String::from_utf8(seen).unwrap();
                // After another request the preface is invalid.
                let rest = seen.strip_prefix(good).unwrap_or_else(|| panic!("{cut}: {seen:?}"));
                let path = rest.strip_prefix("GET ").and_then(|rest| rest.split(' ').next());
                let path = path.unwrap_or_else(|| panic!("{bad:.60?}, {cut}: {seen:.200?}"));
                let refusal = strict.refused.of(&path.parse().unwrap());
                assert_eq!(refusal.expect("it stands in").code(), code, "{bad:.60?}");
                assert!(rest.ends_with("Connection: close\r\n\r\n"), "{rest:?}");
                drop(client);
            }
        }
    }
}

#[tokio::test]
async fn head_without_an_end_is_refused_once_it_is_too_large_to_be_one() {
    for (head, code) in [("GET / HTTP/1.1\r\nX: ", Code::HeadTooLarge), ("GET /", Code::UriTooLong)] {
        let (mut client, mut strict) = pair();
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(&vec![b'x'; HEAD_BYTES_MAX]).await.unwrap();
        let seen = timeout(HEAD_TIMEOUT, read_stand_in(&mut strict, Vec::new())).await.unwrap();
        assert!(seen.starts_with(b"GET /") && seen.len() < 200);
        assert_eq!(strict.refused.0.get().map(Error::code), Some(code));
        drop(client);
    }
}

#[tokio::test]
async fn head_is_passed_on_when_it_is_whole() {
    let (mut client, mut strict) = pair();
    let mut buffer = [0; 100];
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").await.unwrap();
    assert!(strict.read(&mut buffer).now_or_never().is_none(), "it waits");
    client.write_all(b"\r\nGET /half").await.unwrap();
    assert_eq!(strict.read(&mut buffer).await.unwrap(), 27);
    assert!(strict.read(&mut buffer).now_or_never().is_none(), "it waits");
    // hyper handles a head that ends early.
    drop(client);
    assert_eq!(read(&mut strict, 100).await, b"GET /half");
}

#[tokio::test(start_paused = true)]
async fn first_head_must_be_whole_at_its_deadline_though_bytes_trickle_in() {
    let (mut client, mut strict) = pair();
    let begun = Instant::now();
    let trickle = async {
        for byte in b"GET / HTTP/1.1\r\nX: and so on, and so on" {
            client.write_all(&[*byte]).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let mut buffer = [0; 100];
    let reading = async {
        while strict.read(&mut buffer).await.map_err(|error| error.kind())? > 0 {}
        Ok(())
    };
    tokio::select! {
        () = trickle => panic!("the deadline passed"),
        ended = reading => assert_eq!(ended, Err(io::ErrorKind::TimedOut)),
    }
    assert_eq!(begun.elapsed().as_secs(), HEAD_TIMEOUT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn connection_whose_first_head_came_may_be_silent() {
    let (mut client, mut strict) = pair();
    let mut buffer = [0; 100];
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(strict.read(&mut buffer).await.unwrap(), 18);
    assert!(
        timeout(HEAD_TIMEOUT * 10, strict.read(&mut buffer)).await.is_err(),
        "nothing comes, and no error"
    );
}

#[tokio::test(start_paused = true)]
async fn later_head_must_be_whole_soon_after_its_first_byte_and_not_before() {
    let (mut client, mut strict) = pair();
    let mut bytes = [0; 100];
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(strict.read(&mut bytes).await.unwrap(), 18);
    assert!(timeout(3 * HEAD_TIMEOUT, strict.read(&mut bytes)).await.is_err(), "it is idle");
    // After a complete head the next one has its own deadline.
    client.write_all(b"GET /").await.unwrap();
    assert!(timeout(HEAD_TIMEOUT / 2, strict.read(&mut bytes)).await.is_err(), "it waits for the rest");
    client.write_all(b" HTTP/1.1\r\n\r\nG").await.unwrap();
    assert_eq!(strict.read(&mut bytes).await.unwrap(), 18);
    let begun = Instant::now();
    let fault = strict.read(&mut bytes).await.unwrap_err();
    assert!(fault.get_ref().unwrap().is::<HeadTimeout>(), "{fault}");
    assert_eq!(begun.elapsed().as_secs(), HEAD_TIMEOUT.as_secs());
}
