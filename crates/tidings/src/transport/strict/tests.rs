//! What a reader sees of a connection whose client is at fault, slow, or neither.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time::{Instant, timeout},
};

use super::*;

const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

fn pair() -> (DuplexStream, Strict<DuplexStream>) {
    let (client, server) = duplex(1 << 20);
    (client, Strict::new(server, HEAD_TIMEOUT))
}

/// Everything that is read, at most `portion` bytes at a time.
async fn read(strict: &mut Strict<DuplexStream>, portion: usize) -> Vec<u8> {
    let mut read = Vec::new();
    let mut buffer = vec![0; portion];
    loop {
        match strict.read(&mut buffer).await.unwrap() {
            0 => return read,
            bytes => read.extend_from_slice(&buffer[..bytes]),
        }
    }
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
async fn rest_behind_a_fault_is_replaced_however_little_is_read_at_a_time() {
    let head = "POST / HTTP/1.1\r\n";
    let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (good, bad, instead) in [
        (head.to_owned(), "\nrest", "\0\r\n\r\n"),
        (format!("{head}X: a"), "\nrest", "\0\r\n\r\n"),
        (format!("{chunked}3"), "x\r\nabc", "\0"),
        (format!("{chunked}3;a"), "\nabc", "\n"),
        (format!("{chunked}0\r\nX: a"), "\n\r\n", "\0\r\n\r\n"),
    ] {
        for portion in [1, 3, 1000] {
            let (mut client, mut strict) = pair();
            client.write_all(format!("{good}{bad}").as_bytes()).await.unwrap();
            // The client goes on: it reads as ended all the same.
            let read = timeout(HEAD_TIMEOUT, read(&mut strict, portion)).await.unwrap();
            assert_eq!(String::from_utf8(read).unwrap(), format!("{good}{instead}"));
            drop(client);
        }
    }
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
