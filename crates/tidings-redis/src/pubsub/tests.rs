use std::collections::BTreeSet;

use futures_util::FutureExt;
use tidings_testkit::RedisServer;

use super::*;
use crate::{TlsFiles, testing};

const FIRST: &str = "first";

/// Connection that skips payloads above 1,000 bytes.
fn pubsub(redis: &RedisServer) -> PubsubConnection {
    pubsub_at(&redis.url(), FIRST, testing::DEADLINE)
}

fn pubsub_at(url: &str, first: &str, deadline: Duration) -> PubsubConnection {
    PubsubConnection::new(testing::connector(url, &TlsFiles::default(), deadline), name(first), 1000)
}

/// A server, and a connection that subscribes to these targets.
async fn subscribed_to(targets: impl IntoIterator<Item = PubsubTarget>) -> (RedisServer, PubsubConnection) {
    let redis = RedisServer::start();
    let mut pubsub = pubsub(&redis);
    pubsub.subscribe(targets).await;
    until(&mut pubsub, &PubsubEvent::Ready).await;
    (redis, pubsub)
}

async fn until(pubsub: &mut PubsubConnection, wanted: &PubsubEvent) {
    while pubsub.next().await != *wanted {}
}

fn name(name: &str) -> PubsubTarget {
    PubsubTarget::Name(name.into())
}

fn glob(glob: &str) -> PubsubTarget {
    PubsubTarget::Glob(glob.into())
}

fn subscribed(channel: &str) -> PubsubEvent {
    PubsubEvent::Subscribed { target: name(channel) }
}

fn message(channel: &'static str, payload: &'static [u8]) -> PubsubEvent {
    PubsubEvent::Message { channel: channel.into(), payload: payload.into() }
}

#[tokio::test]
async fn connection_receives_subscribed_channels() {
    let redis = RedisServer::start();
    let mut pubsub = pubsub(&redis);
    assert_eq!(pubsub.next().await, subscribed(FIRST));
    assert_eq!(pubsub.next().await, PubsubEvent::Ready);
    pubsub.subscribe([name("old")]).await;
    assert_eq!(pubsub.next().await, subscribed("old"));
    redis.execute("PUBLISH first all");
    redis.execute("PUBLISH old hello");
    assert_eq!(pubsub.next().await, message(FIRST, b"all"));
    assert_eq!(pubsub.next().await, message("old", b"hello"));
    pubsub.unsubscribe([name("old")]).await;
    pubsub.subscribe([name("last")]).await;
    until(&mut pubsub, &subscribed("last")).await;
    redis.execute("PUBLISH old unheard");
    redis.execute("PUBLISH last heard");
    assert_eq!(pubsub.next().await, message("last", b"heard"));
}

#[tokio::test]
async fn lost_connection_is_reported_and_subscribes_again() {
    // More than fit into one command.
    let names = (0..2500).map(|number| name(&format!("channel.{number}")));
    let (redis, mut pubsub) = subscribed_to(names).await;
    for round in 0..3 {
        redis.execute("CLIENT KILL TYPE pubsub");
        assert!(matches!(pubsub.next().await, PubsubEvent::Disconnected { .. }), "round {round}");
        until(&mut pubsub, &PubsubEvent::Ready).await;
        redis.execute("PUBLISH channel.0 first");
        redis.execute("PUBLISH channel.2499 last");
        assert_eq!(pubsub.next().await, message("channel.0", b"first"));
        assert_eq!(pubsub.next().await, message("channel.2499", b"last"));
    }
}

#[tokio::test]
async fn a_command_on_a_dead_connection_is_said_as_away() {
    let (redis, mut pubsub) = subscribed_to([name("a")]).await;
    redis.execute("CLIENT KILL TYPE pubsub");
    pubsub.subscribe([name("b")]).await;
    pubsub.subscribe([name("c")]).await;
    assert!(matches!(pubsub.next().await, PubsubEvent::Disconnected { .. }));
    until(&mut pubsub, &PubsubEvent::Ready).await;
    redis.execute("PUBLISH c now");
    assert_eq!(pubsub.next().await, message("c", b"now"));
}

#[tokio::test]
async fn a_payload_above_the_bound_is_said_and_passed_over() {
    let (redis, mut pubsub) = subscribed_to([name("a")]).await;
    redis.execute(&format!("PUBLISH a {}", "x".repeat(1_000_000)));
    redis.execute("PUBLISH a small");
    assert_eq!(pubsub.next().await, PubsubEvent::TooLarge { channel: "a".into(), bytes: 1_000_000 });
    assert_eq!(pubsub.next().await, message("a", b"small"));
}

#[tokio::test]
async fn a_silent_server_is_asked_and_given_up() {
    let redis = RedisServer::start();
    let mut pubsub = pubsub_at(&redis.url(), FIRST, Duration::from_millis(300));
    pubsub.subscribe([name("a")]).await;
    until(&mut pubsub, &PubsubEvent::Ready).await;
    redis.pause();
    assert!(matches!(pubsub.next().await, PubsubEvent::Disconnected { .. }));
    redis.resume();
    until(&mut pubsub, &PubsubEvent::Ready).await;
}

#[tokio::test]
async fn connection_opens_though_each_wait_is_cancelled() {
    let redis = RedisServer::start();
    let mut pubsub = pubsub(&redis);
    pubsub.subscribe([name("a")]).await;
    while pubsub.next().now_or_never() != Some(PubsubEvent::Ready) {
        tokio::task::yield_now().await;
    }
    redis.execute("PUBLISH a now");
    assert_eq!(pubsub.next().await, message("a", b"now"));
}

#[tokio::test]
async fn a_message_is_heard_once_however_many_targets_it_fits() {
    let targets = [glob("a.*"), name("a.b"), glob("*.b"), glob("[a-b]*")];
    let (redis, mut pubsub) = subscribed_to(targets).await;
    for channel in ["a.b", "a.c", "c.b", "b", "c", "a.b"] {
        redis.execute(&format!("PUBLISH {channel} now"));
    }
    for channel in ["a.b", "a.c", "c.b", "b", "a.b"] {
        assert_eq!(pubsub.next().await, message(channel, b"now"));
    }
}

#[tokio::test]
async fn a_message_is_heard_once_while_targets_come_and_go() {
    let (redis, mut pubsub) = subscribed_to([name("a.b"), name("last")]).await;
    let changes = [
        (vec![glob("a.*"), glob("*.b")], vec![name("a.b")]),
        (vec![], vec![glob("*.b")]),
        (vec![name("a.b")], vec![]),
        (vec![glob("*b")], vec![name("a.b"), glob("a.*")]),
    ];
    // The commands of the other connection come between those of this one.
    for (number, (more, less)) in changes.into_iter().enumerate() {
        let publish = async {
            for at in 0..50 {
                redis.execute(&format!("PUBLISH a.b {number}-{at}"));
                tokio::task::yield_now().await;
            }
            redis.execute("PUBLISH last end");
        };
        let hear = async {
            pubsub.subscribe(more).await;
            pubsub.unsubscribe(less).await;
            let mut heard = Vec::new();
            loop {
                match pubsub.next().await {
                    PubsubEvent::Message { channel, .. } if &channel[..] == b"last" => return heard,
                    PubsubEvent::Message { payload, .. } => {
                        heard.push(String::from_utf8(payload.into()).unwrap());
                    }
                    PubsubEvent::Subscribed { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        };
        let ((), heard) = tokio::join!(publish, hear);
        assert_eq!(heard, (0..50).map(|at| format!("{number}-{at}")).collect::<Vec<_>>());
    }
}

/// Confirmed and refused targets up to [`PubsubEvent::Ready`], in order of name.
async fn answers(pubsub: &mut PubsubConnection) -> (Vec<PubsubTarget>, Vec<PubsubTarget>) {
    let (mut heard, mut refused) = (BTreeSet::new(), BTreeSet::new());
    loop {
        match pubsub.next().await {
            PubsubEvent::Subscribed { target } => assert!(heard.insert(target)),
            PubsubEvent::Refused { target, reason } => {
                assert!(reason.contains("NOPERM") && refused.insert(target), "{reason}");
            }
            PubsubEvent::Ready => return (heard.into_iter().collect(), refused.into_iter().collect()),
            other => panic!("{other:?}"),
        }
    }
}

/// A server, and a connection of a user with access to the channels `may.…` and `first`.
fn restricted(first: &str) -> (RedisServer, PubsubConnection) {
    let redis = RedisServer::start();
    redis.execute("ACL SETUSER ann resetchannels on >word ~* &may.* &first +@all");
    let pubsub = pubsub_at(&format!("redis://ann:word@{}", redis.address()), first, testing::DEADLINE);
    (redis, pubsub)
}

#[tokio::test]
async fn target_that_is_refused_is_the_only_one_that_is_not_heard() {
    let (redis, mut pubsub) = restricted(FIRST);
    let names = |from, to| (from..to).map(|number| name(&format!("may.{number:04}")));
    let refused = [name("may"), name("other.1"), name("other.2"), glob("*"), glob("may*")];
    let allowed: Vec<_> = [name(FIRST)].into_iter().chain(names(0, 1500)).chain([glob("may.*")]).collect();
    pubsub.subscribe(allowed[1..].iter().chain(&refused).cloned()).await;
    for round in 0..2 {
        assert_eq!(answers(&mut pubsub).await, (allowed.clone(), refused.to_vec()), "round {round}");
        redis.execute("PUBLISH other.1 unheard");
        redis.execute("PUBLISH may.1499 heard");
        assert_eq!(pubsub.next().await, message("may.1499", b"heard"));
        redis.execute("CLIENT KILL TYPE pubsub");
        assert!(matches!(pubsub.next().await, PubsubEvent::Disconnected { .. }));
    }
    redis.execute("ACL SETUSER ann &other.*");
    let (heard, refused) = answers(&mut pubsub).await;
    assert!(heard.contains(&name("other.1")) && heard.contains(&name("other.2")));
    assert_eq!(refused, [name("may"), glob("*"), glob("may*")]);
}

#[tokio::test]
async fn target_that_comes_and_goes_around_a_refused_one_is_heard() {
    let (redis, mut pubsub) = restricted(FIRST);
    assert_eq!(answers(&mut pubsub).await, (vec![name(FIRST)], vec![]));
    for _ in 0..20 {
        pubsub.subscribe([name("may.a"), name("may.b"), name("other")]).await;
        pubsub.unsubscribe([name("may.a"), name("other")]).await;
        pubsub.subscribe([name("may.a"), name("may.c")]).await;
        until(&mut pubsub, &subscribed("may.c")).await;
        redis.execute("PUBLISH may.c end");
        until(&mut pubsub, &message("may.c", b"end")).await;
        for channel in ["may.a", "may.b", "may.c"] {
            redis.execute(&format!("PUBLISH {channel} now"));
        }
        for channel in ["may.a", "may.b", "may.c"] {
            until(&mut pubsub, &message(channel, b"now")).await;
        }
        pubsub.unsubscribe([name("may.a"), name("may.b"), name("may.c")]).await;
    }
}

#[tokio::test]
async fn without_the_first_target_nothing_is_heard() {
    let (redis, mut pubsub) = restricted("other");
    pubsub.subscribe([name("may.a")]).await;
    for _ in 0..3 {
        let PubsubEvent::Disconnected { reason } = pubsub.next().await else { panic!("it was let in") };
        assert!(reason.contains("NOPERM"), "{reason}");
    }
    redis.execute("ACL SETUSER ann &other");
    while pubsub.next().await != subscribed("other") {}
    assert_eq!(pubsub.next().await, subscribed("may.a"));
    assert_eq!(pubsub.next().await, PubsubEvent::Ready);
}
