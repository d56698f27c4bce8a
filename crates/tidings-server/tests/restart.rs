//! A hub that restarts behind each proxy of the manual, and clients that give up at any status but 200, as `EventSource` does.

use std::collections::HashSet;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

use tidings_protocol::sse::StreamItem;

use super::proxy::{Proxy, recipe};
use crate::prelude::*;

const CLIENTS: usize = 80;
const ORIGIN: &str = "http://page.example";
/// Some clients reconnect after this delay, whatever the hub asks for: so there is a client at each moment.
const HASTE: Duration = Duration::from_millis(200);
/// Downtime of the hub in most tests.
const AWAY: Duration = Duration::from_secs(6);

/// A hub that can restart at its address with its log.
struct RestartableHub {
    directory: TempDirectory,
    address: SocketAddr,
}

impl RestartableHub {
    fn new() -> Self {
        Self { directory: TempDirectory::create(), address: SocketAddr::from(([127, 0, 0, 1], fixed_port())) }
    }

    fn start(&self) -> TestHub {
        let address = self.address.to_string();
        let mut command = self.directory.command(&["serve", "--listen", &address, "--data-dir", "data"]);
        command.env("TIDINGS_SHUTDOWN_WINDOW", "2s").env("TIDINGS_CORS_ORIGINS", ORIGIN);
        command.env("TIDINGS_LIMITS_CONNECTIONS", CLIENTS.to_string());
        TestHub::start(command)
    }
}

/// State shared by the clients of a test.
#[derive(Default)]
struct ReconnectingClients {
    port: u16,
    events: usize,
    /// Number of clients that have had the first event.
    begun: AtomicUsize,
    /// Number of clients that have had all events.
    finished: AtomicUsize,
    is_over: AtomicBool,
}

impl ReconnectingClients {
    /// Reads events, stream after stream, until all have come.
    ///
    /// # Errors
    /// The response or gap that ended it for good.
    fn read(&self, is_hasty: bool) -> Result<(), String> {
        let (mut last_id, mut delay) = (String::new(), Duration::from_secs(3));
        let mut seen = Vec::new();
        while !self.is_over.load(Ordering::Relaxed) {
            let mut reader = self.open(&last_id)?;
            while let Some(item) = reader.next_item() {
                match item {
                    StreamItem::Retry(delay_ms) => delay = Duration::from_millis(delay_ms),
                    StreamItem::Event(event) if event.name == "message" => {
                        seen.push(event.data);
                        self.begun.fetch_add(usize::from(seen.len() == 1), Ordering::Relaxed);
                    }
                    StreamItem::Event(event) if event.name == "tidings.gap" => return Err(event.data),
                    _ => {}
                }
                if !reader.last_event_id().is_empty() {
                    reader.last_event_id().clone_into(&mut last_id);
                }
                if seen.len() >= self.events {
                    break;
                }
            }
            if seen.len() >= self.events {
                self.finished.fetch_add(1, Ordering::Relaxed);
                let is_complete = seen == numbers(0..self.events);
                return if is_complete { Ok(()) } else { Err(format!("not each once, in order: {seen:?}")) };
            }
            sleep(if is_hasty { delay.min(HASTE) } else { delay });
        }
        Err(format!("only {seen:?} came"))
    }

    fn open(&self, last_id: &str) -> Result<SseReader, String> {
        let socket = TcpStream::connect(("127.0.0.1", self.port)).map_err(|error| error.to_string())?;
        let mut connection = HttpConnection::from_socket(socket);
        let id = if last_id.is_empty() { String::new() } else { format!("Last-Event-ID: {last_id}\r\n") };
        connection.send(format!(
            "GET /api/v1/events/a?position=id HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nOrigin: {ORIGIN}\r\n{id}\r\n",
            self.port
        ));
        let reader = SseReader::from_response(connection);
        let head = &reader.head;
        let is_stream = head.header("content-type").is_some_and(|it| it.starts_with("text/event-stream"));
        if head.status != 200 || !is_stream || head.header("access-control-allow-origin") != Some(ORIGIN) {
            return Err(format!("{head:?}"));
        }
        Ok(reader)
    }
}

/// Restarts a hub behind a proxy. Every client reconnects, and gets each event once.
fn restart_behind(proxy: impl FnOnce(&str) -> Proxy, away: Duration) {
    let restartable = RestartableHub::new();
    let hub = restartable.start();
    let proxy = proxy(hub.authority());
    let clients = ReconnectingClients { port: proxy.port, events: 10, ..ReconnectingClients::default() };
    let outcomes: Vec<Result<(), String>> = thread::scope(|scope| {
        let clients = &clients;
        let begin = |number| scope.spawn(move || clients.read(number % 2 == 0));
        let threads: Vec<_> = (0..CLIENTS).map(begin).collect();
        eventually("all streams are open", || hub.connections("a") == CLIENTS as u64);
        // The proxy does not hide refusals of the hub.
        proxy.request("GET", "/api/v1/events/a", "").read_response().assert_problem(503, "connections_full");
        hub.publish_numbers("a", 0..5);
        eventually("all clients have the first event", || clients.begun.load(Ordering::Relaxed) == CLIENTS);
        hub.terminate();
        if !away.is_zero() {
            // A publisher gets an error.
            let refused =
                scope.spawn(|| proxy.request("POST", "/api/v1/events/a", "lost").read_head().status);
            sleep(away);
            assert!(refused.join().unwrap() >= 500);
        }
        let hub = restartable.start();
        hub.publish_numbers("a", 5..10);
        let is_over = || {
            clients.finished.load(Ordering::Relaxed) == CLIENTS || threads.iter().all(|it| it.is_finished())
        };
        eventually("all clients have all events", is_over);
        clients.is_over.store(true, Ordering::Relaxed);
        threads.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let failures: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
    let kinds: HashSet<&String> = failures.iter().collect();
    assert!(failures.is_empty(), "{} of {CLIENTS} are gone for good: {kinds:?}", failures.len());
}

/// Declares a test of a restart for each proxy: they run at once, because each mostly waits.
macro_rules! restart_tests {
    ($($name:ident: $proxy:expr, $away:expr;)+) => {
        $(#[test]
        fn $name() {
            restart_behind($proxy, $away);
        })+
    };
}

restart_tests! {
    every_client_behind_nginx_reconnects_after_a_restart_at_once: |hub| Proxy::nginx(hub, &[]), Duration::ZERO;
    every_client_behind_nginx_reconnects_after_six_seconds: |hub| Proxy::nginx(hub, &[]), AWAY;
    every_client_behind_the_nginx_of_deploy_reconnects_after_six_seconds:
        |hub| Proxy::deployed_nginx([hub, hub]), AWAY;
    every_client_behind_haproxy_reconnects_after_six_seconds: |hub| Proxy::haproxy(hub, &[]), AWAY;
    every_client_behind_caddy_reconnects_after_six_seconds: |hub| Proxy::caddy(hub, &[]), AWAY;
    every_client_behind_apache_reconnects_after_six_seconds: |hub| Proxy::apache(hub, &[]), AWAY;
    every_client_behind_varnish_reconnects_after_six_seconds: |hub| Proxy::varnish(hub, &[]), AWAY;
    every_client_behind_traefik_reconnects_after_six_seconds: |hub| Proxy::traefik(hub, &[]), AWAY;
}

#[test]
fn every_nginx_in_the_documents_bridges_the_restart_alike() {
    let location = |text: &str| {
        let (_, after) = text.split_once("location @tidings_away {").expect("a location for the absence");
        let (block, _) = after.split_once("\n").map(|(_, after)| after).unwrap().split_once("\";\n").unwrap();
        let lines = block.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let manual = location(recipe("**nginx** ("));
    for text in [include_str!("../../../deploy/nginx.conf"), include_str!("../../../docs/manual/protect.md")]
    {
        assert_eq!(location(text), manual);
        assert!(text.contains("error_page 502 504 = @tidings_away;"));
        assert!(!text.contains("proxy_intercept_errors on"));
    }
}
