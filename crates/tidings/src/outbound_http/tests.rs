//! Allowed targets, and the result of servers that answer badly.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use self::backend::{Reply, StubBackend, answer, ok};
use super::*;

pub(crate) mod backend;

/// Deadline that no test reaches.
const LONG: Duration = Duration::from_secs(20);
/// Deadline that tests wait for.
const SHORT: Duration = Duration::from_millis(150);

/// Asks `backend` under a name that resolves as `lookup` says, given how often it was asked before.
fn by_name(
    backend: &StubBackend,
    name: &str,
    reach: AddressPolicy,
    lookup: impl Fn(usize) -> Vec<&'static str> + Send + Sync + 'static,
) -> (HttpClient, Arc<AtomicUsize>) {
    let lookups = Arc::new(AtomicUsize::new(0));
    let counted = lookups.clone();
    let lookup = move |_: &str| -> io::Result<Vec<IpAddr>> {
        let addresses = lookup(counted.fetch_add(1, Ordering::SeqCst));
        Ok(addresses.into_iter().map(|address| address.parse().unwrap()).collect())
    };
    let resolver = Resolver::with_lookup(reach, Arc::new(lookup));
    let target = Target::parse(&format!("http://{name}:{}/", backend.address.port())).unwrap();
    (HttpClient::with_resolver(target, resolver, LONG), lookups)
}

fn by_address(backend: &StubBackend, deadline: Duration) -> HttpClient {
    HttpClient::new(Target::parse(&backend.url()).unwrap(), AddressPolicy::Public, deadline)
}

#[tokio::test]
async fn name_that_resolves_to_an_address_that_is_not_public_is_not_connected_to() {
    let backend = StubBackend::always(ok("fine")).await;
    let addresses =
        ["127.0.0.1", "169.254.169.254", "10.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "fd00::1"];
    for address in addresses {
        let (outgoing, _) = by_name(&backend, "evil.example", AddressPolicy::Public, move |_| vec![address]);
        let fault = outgoing.get().await.unwrap_err().to_string();
        assert!(fault.contains("is not a public address; auth.hook_private = true allows it"), "{fault}");
        assert!(fault.contains(address), "{fault}");
    }
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn one_private_address_among_public_ones_refuses_the_name() {
    let backend = StubBackend::always(ok("fine")).await;
    for addresses in [["8.8.8.8", "127.0.0.1"], ["127.0.0.1", "8.8.8.8"]] {
        let (outgoing, _) =
            by_name(&backend, "evil.example", AddressPolicy::Public, move |_| addresses.to_vec());
        assert!(outgoing.get().await.unwrap_err().to_string().contains("127.0.0.1"));
    }
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn name_of_a_private_address_is_connected_to_where_that_is_allowed() {
    let backend = StubBackend::always(ok("fine")).await;
    let (outgoing, _) = by_name(&backend, "backend.internal", AddressPolicy::Anywhere, |_| vec!["127.0.0.1"]);
    assert_eq!(outgoing.get().await.unwrap().body, "fine");
}

/// The first look-up is good and is the one connected to; the second, for the next connection, is judged anew.
#[tokio::test]
async fn rebound_name_is_refused_and_a_connection_takes_one_lookup() {
    let backend = StubBackend::always(Reply::Last(answer("200 OK", "Connection: close\r\n", "fine"))).await;
    let resolved = |before| vec![if before == 0 { "127.0.0.1" } else { "169.254.169.254" }];
    let (outgoing, lookups) = by_name(&backend, "rebinds.example", AddressPolicy::Loopback, resolved);
    assert_eq!(outgoing.get().await.unwrap().body, "fine");
    assert_eq!(lookups.load(Ordering::SeqCst), 1);
    let fault = outgoing.get().await.unwrap_err().to_string();
    assert!(fault.contains("169.254.169.254, which is not loopback"), "{fault}");
    assert_eq!(lookups.load(Ordering::SeqCst), 2);
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn localhost_and_addresses_are_what_was_meant() {
    let backend = StubBackend::always(ok("fine")).await;
    let (outgoing, _) = by_name(&backend, "localhost", AddressPolicy::Public, |_| vec!["::1", "127.0.0.1"]);
    assert_eq!(outgoing.get().await.unwrap().body, "fine");
    let (outgoing, lookups) = by_name(&backend, "127.0.0.1", AddressPolicy::Public, |_| vec![]);
    assert_eq!(outgoing.get().await.unwrap().body, "fine");
    assert_eq!(lookups.load(Ordering::SeqCst), 0);
    let (outgoing, _) = by_name(&backend, "localhost", AddressPolicy::Public, |_| vec!["10.0.0.1"]);
    assert!(outgoing.get().await.unwrap_err().to_string().contains("not loopback"));
}

/// Other ways to write an address are names to us, whatever the system takes them for.
#[tokio::test]
async fn address_in_disguise_is_judged_as_a_name() {
    for host in ["2130706433", "0x7f000001", "127.1"] {
        let target = Target::parse(&format!("http://{host}:1/")).unwrap();
        assert_eq!(target.address(), None);
        let fault = HttpClient::new(target, AddressPolicy::Public, LONG).get().await.unwrap_err().to_string();
        assert!(fault.contains("127.0.0.1, which is not a public address"), "{host}: {fault}");
    }
}

#[tokio::test]
async fn redirect_is_an_answer_and_is_not_followed() {
    let target = StubBackend::always(ok("fine")).await;
    let location = format!("Location: {}\r\n", target.url());
    let backend = StubBackend::always(Reply::Bytes(answer("302 Found", &location, "over there"))).await;
    let answer = by_address(&backend, LONG).get().await.unwrap();
    assert_eq!(answer.status, StatusCode::FOUND);
    assert_eq!(answer.body, "");
    assert_eq!(target.connections(), 0);
}

#[tokio::test]
async fn answer_of_the_largest_size_is_read_and_a_larger_one_is_none() {
    // A body without a length.
    let endless = [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &[b'x'; 1 << 20]].concat();
    for (reply, expected) in [
        (ok(vec![b'x'; BODY_BYTES_MAX]), Some(BODY_BYTES_MAX)),
        (ok(vec![b'x'; BODY_BYTES_MAX + 1]), None),
        (Reply::Bytes(endless), None),
    ] {
        let backend = StubBackend::always(reply).await;
        assert_eq!(by_address(&backend, LONG).get().await.ok().map(|answer| answer.body.len()), expected);
    }
}

#[tokio::test]
async fn deadline_holds_for_silence_a_dripped_head_and_a_dripped_body() {
    let body = Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx".to_vec());
    let head = Reply::Drip(answer("200 OK", &"X-Filler: 0123456789\r\n".repeat(200), "fine"));
    for reply in [Reply::Silence, head, body] {
        let backend = StubBackend::always(reply).await;
        let began = Instant::now();
        let fault = by_address(&backend, SHORT).get().await.unwrap_err();
        assert_eq!(fault.to_string(), "no answer within 150ms");
        assert!(began.elapsed() >= SHORT && began.elapsed() < LONG);
    }
}

#[tokio::test]
async fn https_is_never_asked_in_the_clear() {
    let backend = StubBackend::always(ok("fine")).await;
    let target = Target::parse(&backend.url().replace("http:", "https:")).unwrap();
    HttpClient::new(target, AddressPolicy::Public, SHORT).get().await.unwrap_err();
    assert_eq!((backend.connections(), backend.requests().len()), (1, 0));
}

#[tokio::test]
async fn answer_that_breaks_off_is_none() {
    let backend =
        StubBackend::always(Reply::Last(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx".to_vec())).await;
    assert!(by_address(&backend, LONG).get().await.unwrap_err().to_string().starts_with("answer broke off"));
}

#[tokio::test]
async fn connection_is_kept_and_cookies_are_not() {
    let backend = StubBackend::always(Reply::Bytes(answer("200 OK", "Set-Cookie: id=1\r\n", "fine"))).await;
    let outgoing = by_address(&backend, LONG);
    outgoing.get().await.unwrap();
    outgoing.post(b"{}".to_vec()).await.unwrap();
    assert_eq!(backend.connections(), 1);
    let requests = backend.requests();
    assert!(requests[0].starts_with("GET /path HTTP/1.1\r\n"), "{}", requests[0]);
    assert!(requests[1].contains("content-type: application/json\r\n"), "{}", requests[1]);
    assert!(requests[1].contains(concat!("user-agent: tidings/", env!("CARGO_PKG_VERSION"), "\r\n")));
    assert!(!requests[1].contains("cookie"), "{}", requests[1]);
}

#[tokio::test]
async fn user_and_password_of_the_url_go_as_basic_credentials() {
    let backend = StubBackend::always(ok("fine")).await;
    let target = Target::parse(&format!("http://me:p%40ss@{}/x?key=1", backend.address)).unwrap();
    HttpClient::new(target, AddressPolicy::Public, LONG).get().await.unwrap();
    let request = backend.requests().remove(0);
    assert!(request.starts_with("GET /x?key=1 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("authorization: Basic bWU6cEBzcw==\r\n"), "{request}");
    assert!(request.contains(&format!("host: {}\r\n", backend.address)), "{request}");
}

/// Threads that wait for a name are lost to the reads of the log until the system gives the name up.
#[tokio::test]
async fn lookups_that_hang_hold_two_threads_however_many_ask() {
    let (authorizer, started) =
        (Arc::new((Mutex::new(false), Condvar::new())), Arc::new(AtomicUsize::new(0)));
    let (shut, counted) = (authorizer.clone(), started.clone());
    let lookup = move |_: &str| {
        counted.fetch_add(1, Ordering::SeqCst);
        let open = shut.0.lock().unwrap();
        drop(shut.1.wait_while(open, |open| !*open).unwrap());
        Err(io::Error::other("gone"))
    };
    let resolver = Resolver::with_lookup(AddressPolicy::Public, Arc::new(lookup));
    let target = Target::parse("http://slow.example/").unwrap();
    let outgoing = Arc::new(HttpClient::with_resolver(target, resolver, SHORT));
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let outgoing = outgoing.clone();
        asking.spawn(async move { outgoing.get().await.unwrap_err().to_string() });
    }
    let mut faults = asking.join_all().await;
    // Both threads are taken by now, or will be; a later lookup gets no third.
    while started.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    faults.push(outgoing.get().await.unwrap_err().to_string());
    let lookups = started.load(Ordering::SeqCst);
    *authorizer.0.lock().unwrap() = true;
    authorizer.1.notify_all();
    assert_eq!(lookups, 2);
    assert!(faults.iter().all(|fault| fault == "no answer within 150ms"), "{faults:?}");
}
