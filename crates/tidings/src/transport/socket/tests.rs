//! A socket whose client does not read.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::metrics::tests::metrics;

const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

async fn pair() -> (Socket, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (client, accepted) =
        tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    let socket = Socket::new(accepted.unwrap().0, WRITE_TIMEOUT, metrics());
    (socket, client.unwrap())
}

/// Writes until the socket refuses bytes; returns the number of bytes that it took.
async fn fill(socket: &mut Socket) -> usize {
    let mut taken = 0;
    loop {
        let mut write = std::pin::pin!(socket.write(&[0; 64 << 10]));
        let outcome = std::future::poll_fn(|context| Poll::Ready(write.as_mut().poll(context))).await;
        match outcome {
            Poll::Ready(bytes) => taken += bytes.unwrap(),
            Poll::Pending => return taken,
        }
    }
}

#[tokio::test]
async fn a_full_socket_presses_its_streams_until_the_peer_reads() {
    let (mut socket, mut client) = pair().await;
    let pressure = socket.pressure().clone();
    assert!(!pressure.is_refusing(Waker::noop()));
    let taken = fill(&mut socket).await;
    assert!(pressure.is_refusing(Waker::noop()));
    assert_eq!(pressure.refusals(), 1);
    let mut read = vec![0; taken];
    let (wrote, bytes) = tokio::join!(socket.write(b"more"), client.read_exact(&mut read));
    assert_eq!((wrote.unwrap(), bytes.unwrap()), (4, taken));
    assert!(!pressure.is_refusing(Waker::noop()));
}

#[tokio::test]
async fn a_write_fails_if_the_client_takes_nothing_for_the_write_timeout() {
    let (mut socket, client) = pair().await;
    fill(&mut socket).await;
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let error = socket.write(b"more").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(begun.elapsed() <= WRITE_TIMEOUT + Duration::from_millis(10), "{:?}", begun.elapsed());
    assert!(begun.elapsed() >= WRITE_TIMEOUT - Duration::from_secs(1), "{:?}", begun.elapsed());
    drop(client);
}

#[test]
fn a_stream_that_waits_for_a_socket_is_woken_once_when_it_resumes() {
    let pressure = Backpressure::default();
    let wakes = Arc::new(crate::connection::tests::WakeCounter::default());
    let waker = Waker::from(wakes.clone());
    assert!(pressure.pause());
    assert!(!pressure.pause(), "the socket refuses already");
    assert!(pressure.is_refusing(&waker) && pressure.is_refusing(&waker));
    pressure.resume();
    pressure.resume();
    assert_eq!(wakes.take(), 1);
    assert!(!pressure.is_refusing(&waker));
    assert_eq!(pressure.refusals(), 1);
}
