//! A socket whose peer does not read.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

async fn pair() -> (Socket, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (client, accepted) =
        tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    let socket = Socket::new(accepted.unwrap().0, WRITE_TIMEOUT, Arc::new(Metrics::new()));
    (socket, client.unwrap())
}

/// Writes until the socket takes no more; returns how much it took.
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
async fn a_peer_that_takes_nothing_for_the_write_timeout_is_given_up() {
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
fn whoever_waits_for_a_socket_is_woken_once_when_it_gives_way() {
    use std::{sync::atomic::AtomicUsize, task::Wake};

    #[derive(Default)]
    struct Bell(AtomicUsize);
    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    let pressure = Backpressure::default();
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(bell.clone());
    assert!(pressure.pause());
    assert!(!pressure.pause(), "it refuses already");
    assert!(pressure.is_refusing(&waker) && pressure.is_refusing(&waker));
    pressure.resume();
    pressure.resume();
    assert_eq!(bell.0.load(Ordering::Relaxed), 1);
    assert!(!pressure.is_refusing(&waker));
    assert_eq!(pressure.refusals(), 1);
}
