//! A hook of one's own in an embedded hub: a closure or a struct, asked before anyone outside reads or publishes.

#![allow(clippy::unwrap_used, reason = "a test whose hub cannot be built has failed")]

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tidings::{
    Action, ChannelName, Delivery, Hook, HookError, Hub, Publication, Question, Start,
    config::{AuthSettings, Durability, Settings},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A hub in memory that anyone may read, as far as the hook lets them.
fn settings() -> Settings {
    let auth = AuthSettings {
        anonymous_subscribe: vec!["**".to_owned()],
        hook_ttl: Duration::ZERO,
        hook_timeout: Duration::from_millis(500),
        hook_recheck: Duration::from_millis(100),
        ..AuthSettings::default()
    };
    let mut settings = Settings { auth: Some(auth), data_dir: None, ..Settings::default() };
    settings.log.durability = Durability::Memory;
    settings
}

/// A hub that is served.
struct Served {
    hub: Hub,
    address: SocketAddr,
    serving: JoinHandle<Result<(), tidings::Error>>,
}

impl Served {
    async fn start(settings: Settings, hook: impl Hook) -> Self {
        let hub = Hub::builder().settings(settings).hook(hook).build().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(tidings::serve(hub.clone(), vec![listener]));
        Self { hub, address, serving }
    }

    async fn open(&self, method: &str, path: &str) -> TcpStream {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let address = self.address;
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        socket
    }

    async fn status(&self, method: &str, path: &str) -> u16 {
        let mut socket = self.open(method, path).await;
        let head = read_until(&mut socket, "\r\n\r\n").await;
        head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    async fn end(self) {
        self.hub.shutdown().await;
        timeout(PATIENCE, self.serving).await.unwrap().unwrap().unwrap();
    }
}

/// Reads until the text has come.
async fn read_until(socket: &mut TcpStream, wanted: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    let due = Instant::now() + PATIENCE;
    while !text.contains(wanted) {
        let bytes = timeout_at(due, socket.read(&mut buffer)).await.expect(wanted).unwrap();
        assert!(bytes > 0, "the connection ended with {text:?}");
        text += std::str::from_utf8(&buffer[..bytes]).unwrap();
    }
    text
}

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

#[tokio::test]
async fn closure_is_asked_about_others_and_not_about_the_process_itself() {
    let asked: Arc<Mutex<Vec<Question>>> = Arc::default();
    let kept = asked.clone();
    let served = Served::start(settings(), move |question: Question| {
        kept.lock().unwrap().push(question.clone());
        async move { Ok::<_, HookError>(question.channel.starts_with("open")) }
    })
    .await;
    let mut own = served.hub.subscribe(["closed"], Start::Now).unwrap();
    served.hub.publish(Publication::new(channel("closed"), "x")).await.unwrap();
    assert!(matches!(timeout(PATIENCE, own.next()).await, Ok(Some(Delivery::Event(_)))));
    assert_eq!(*asked.lock().unwrap(), []);
    let question = |channel: &str, is_pattern| Question {
        principal: None,
        action: Action::Subscribe,
        channel: channel.to_owned(),
        is_pattern,
    };
    for (path, status, expected) in [
        ("/api/v1/events/open.a", 200, question("open.a", false)),
        ("/api/v1/events/open.*", 200, question("open.*", true)),
        ("/api/v1/channels/closed/events", 403, question("closed", false)),
    ] {
        asked.lock().unwrap().clear();
        assert_eq!(served.status("GET", path).await, status, "{path}");
        assert_eq!(asked.lock().unwrap().first(), Some(&expected), "{path}");
    }
    // Patterns come first: nobody without credentials publishes.
    asked.lock().unwrap().clear();
    assert_eq!(served.status("POST", "/api/v1/events/open").await, 401);
    let publishes = asked.lock().unwrap().iter().any(|question| question.action == Action::Publish);
    assert!(!publishes);
    drop(own);
    served.end().await;
}

/// Says what it is told to.
struct Doorkeeper {
    lets_in: Arc<AtomicBool>,
    is_there: Arc<AtomicBool>,
}

impl Hook for Doorkeeper {
    async fn allow(&self, _: &Question) -> Result<bool, HookError> {
        if !self.is_there.load(Ordering::SeqCst) {
            return Err(HookError::new("nobody is at the door"));
        }
        Ok(self.lets_in.load(Ordering::SeqCst))
    }
}

#[tokio::test]
async fn struct_that_changes_its_mind_ends_the_stream_and_one_that_is_away_does_not() {
    let (lets_in, is_there) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
    let hook = Doorkeeper { lets_in: lets_in.clone(), is_there: is_there.clone() };
    let served = Served::start(settings(), hook).await;
    let mut socket = served.open("GET", "/api/v1/events/a?position=id").await;
    read_until(&mut socket, "id: ").await;
    is_there.store(false, Ordering::SeqCst);
    assert_eq!(served.status("GET", "/api/v1/events/a").await, 503);
    served.hub.publish(Publication::new(channel("a"), "still")).await.unwrap();
    read_until(&mut socket, "data: still\n").await;
    lets_in.store(false, Ordering::SeqCst);
    is_there.store(true, Ordering::SeqCst);
    read_until(&mut socket, "data: {\"reason\":\"revoked\",\"reconnect\":false}\n").await;
    assert_eq!(served.status("GET", "/api/v1/events/a").await, 403);
    served.end().await;
}

#[tokio::test]
async fn hook_that_panics_or_never_answers_is_one_that_did_not_answer() {
    let served = Served::start(settings(), |question: Question| async move {
        assert_ne!(question.channel, "panic");
        if question.channel == "never" {
            std::future::pending::<()>().await;
        }
        Ok::<_, HookError>(true)
    })
    .await;
    for (name, status) in [("panic", 503), ("never", 503), ("fine", 200), ("panic", 503)] {
        assert_eq!(served.status("GET", &format!("/api/v1/events/{name}")).await, status, "{name}");
    }
    served.end().await;
}

#[tokio::test]
async fn open_hub_asks_its_own_hook_too() {
    let settings = Settings { auth: None, ..settings() };
    let served = Served::start(settings, |question: Question| async move {
        assert_eq!(question.principal, None);
        Ok::<_, HookError>(question.action == Action::Subscribe)
    })
    .await;
    assert_eq!(served.status("GET", "/api/v1/events/a").await, 200);
    assert_eq!(served.status("POST", "/api/v1/events/a").await, 403);
    served.end().await;
}
