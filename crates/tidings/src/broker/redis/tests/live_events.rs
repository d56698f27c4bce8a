use std::collections::BTreeSet;

use futures_util::FutureExt;

use super::{
    super::{node_messages::NodeMessage, pubsub::target::PubsubTarget},
    *,
};

const FIRST: &str = "first";

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
    let redis = Process::start();
    let redis_log = begun(&redis).await;
    let mut pubsub = redis_log.pubsub(name(redis_log.live_channel()), 1000);
    assert_eq!(pubsub.next().await, subscribed("{test}:live"));
    assert_eq!(pubsub.next().await, PubsubEvent::Ready);
    pubsub.subscribe([name("old")]).await;
    assert_eq!(pubsub.next().await, subscribed("old"));
    redis_log.send_node_message(&NodeMessage::Marker(7)).await.unwrap();
    redis.tell("PUBLISH old hello").await;
    assert_eq!(pubsub.next().await, message("{test}:live", b"mark 0000000000000007"));
    assert_eq!(pubsub.next().await, message("old", b"hello"));
    pubsub.unsubscribe([name("old")]).await;
    pubsub.subscribe([name("last")]).await;
    until(&mut pubsub, &subscribed("last")).await;
    redis.tell("PUBLISH old unheard").await;
    redis.tell("PUBLISH last heard").await;
    assert_eq!(pubsub.next().await, message("last", b"heard"));
}

#[tokio::test]
async fn lost_connection_is_reported_and_subscribes_again() {
    let redis = Process::start();
    let mut pubsub = redis_log(&redis).pubsub(name(FIRST), 1000);
    // More than fit into one command.
    let names: Vec<_> = (0..2500).map(|number| name(&format!("channel.{number}"))).collect();
    pubsub.subscribe(names).await;
    until(&mut pubsub, &PubsubEvent::Ready).await;
    for round in 0..3 {
        redis.tell("CLIENT KILL TYPE pubsub").await;
        assert!(matches!(pubsub.next().await, PubsubEvent::Disconnected { .. }), "round {round}");
        until(&mut pubsub, &PubsubEvent::Ready).await;
        redis.tell("PUBLISH channel.0 first").await;
        redis.tell("PUBLISH channel.2499 last").await;
        assert_eq!(pubsub.next().await, message("channel.0", b"first"));
        assert_eq!(pubsub.next().await, message("channel.2499", b"last"));
    }
}

#[tokio::test]
async fn a_command_on_a_dead_connection_is_said_as_away() {
    let redis = Process::start();
    let mut pubsub = redis_log(&redis).pubsub(name(FIRST), 1000);
    pubsub.subscribe([name("a")]).await;
    until(&mut pubsub, &PubsubEvent::Ready).await;
    redis.tell("CLIENT KILL TYPE pubsub").await;
    pubsub.subscribe([name("b")]).await;
    pubsub.subscribe([name("c")]).await;
    assert!(matches!(pubsub.next().await, PubsubEvent::Disconnected { .. }));
    until(&mut pubsub, &PubsubEvent::Ready).await;
    redis.tell("PUBLISH c now").await;
    assert_eq!(pubsub.next().await, message("c", b"now"));
}

#[tokio::test]
async fn a_payload_above_the_bound_is_said_and_passed_over() {
    let redis = Process::start();
    let mut pubsub = redis_log(&redis).pubsub(name(FIRST), 1000);
    pubsub.subscribe([name("a")]).await;
    until(&mut pubsub, &PubsubEvent::Ready).await;
    redis.tell(&format!("PUBLISH a {}", "x".repeat(1_000_000))).await;
    redis.tell("PUBLISH a small").await;
    assert_eq!(pubsub.next().await, PubsubEvent::TooLarge { channel: "a".into(), bytes: 1_000_000 });
    assert_eq!(pubsub.next().await, message("a", b"small"));
}

#[tokio::test]
async fn a_silent_server_is_asked_and_given_up() {
    let redis = Process::start();
    let options = RedisLogOptions { deadline: Duration::from_millis(300), ..options(&redis) };
    let mut pubsub = RedisLog::new(&options).unwrap().pubsub(name(FIRST), 1000);
    pubsub.subscribe([name("a")]).await;
    until(&mut pubsub, &PubsubEvent::Ready).await;
    redis.stop();
    assert!(matches!(pubsub.next().await, PubsubEvent::Disconnected { .. }));
    redis.go_on();
    until(&mut pubsub, &PubsubEvent::Ready).await;
}

#[tokio::test]
async fn connection_opens_though_each_wait_is_cancelled() {
    let redis = Process::start();
    let mut pubsub = redis_log(&redis).pubsub(name(FIRST), 1000);
    pubsub.subscribe([name("a")]).await;
    while pubsub.next().now_or_never() != Some(PubsubEvent::Ready) {
        tokio::task::yield_now().await;
    }
    redis.tell("PUBLISH a now").await;
    assert_eq!(pubsub.next().await, message("a", b"now"));
}

#[tokio::test]
async fn a_message_is_heard_once_however_many_targets_it_fits() {
    let redis = Process::start();
    let mut pubsub = redis_log(&redis).pubsub(name(FIRST), 1000);
    pubsub.subscribe([glob("a.*"), name("a.b"), glob("*.b"), glob("[a-b]*")]).await;
    until(&mut pubsub, &PubsubEvent::Ready).await;
    for channel in ["a.b", "a.c", "c.b", "b", "c", "a.b"] {
        redis.tell(&format!("PUBLISH {channel} now")).await;
    }
    for channel in ["a.b", "a.c", "c.b", "b", "a.b"] {
        assert_eq!(pubsub.next().await, message(channel, b"now"));
    }
}

#[tokio::test]
async fn a_message_is_heard_once_while_targets_come_and_go() {
    let redis = Process::start();
    let mut pubsub = redis_log(&redis).pubsub(name(FIRST), 1000);
    pubsub.subscribe([name("a.b"), name("last")]).await;
    until(&mut pubsub, &PubsubEvent::Ready).await;
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
                redis.tell(&format!("PUBLISH a.b {number}-{at}")).await;
            }
            redis.tell("PUBLISH last end").await;
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

/// User with access to `may.…` and to the first target.
async fn restricted() -> (Process, RedisLog) {
    let redis = Process::start();
    redis.tell("ACL SETUSER ann resetchannels on >word ~* &may.* &first +@all").await;
    let url = Secret::new(format!("redis://ann:word@127.0.0.1:{}", redis.port()));
    let redis_log = RedisLog::new(&RedisLogOptions { url, ..options(&redis) }).unwrap();
    (redis, redis_log)
}

#[tokio::test]
async fn target_that_is_refused_is_the_only_one_that_is_not_heard() {
    let (redis, redis_log) = restricted().await;
    let mut pubsub = redis_log.pubsub(name(FIRST), 1000);
    let names = |from, to| (from..to).map(|number| name(&format!("may.{number:04}")));
    let refused = [name("may"), name("other.1"), name("other.2"), glob("*"), glob("may*")];
    let allowed: Vec<_> = [name(FIRST)].into_iter().chain(names(0, 1500)).chain([glob("may.*")]).collect();
    pubsub.subscribe(allowed[1..].iter().chain(&refused).cloned()).await;
    for round in 0..2 {
        assert_eq!(answers(&mut pubsub).await, (allowed.clone(), refused.to_vec()), "round {round}");
        redis.tell("PUBLISH other.1 unheard").await;
        redis.tell("PUBLISH may.1499 heard").await;
        assert_eq!(pubsub.next().await, message("may.1499", b"heard"));
        redis.tell("CLIENT KILL TYPE pubsub").await;
        assert!(matches!(pubsub.next().await, PubsubEvent::Disconnected { .. }));
    }
    redis.tell("ACL SETUSER ann &other.*").await;
    let (heard, refused) = answers(&mut pubsub).await;
    assert!(heard.contains(&name("other.1")) && heard.contains(&name("other.2")));
    assert_eq!(refused, [name("may"), glob("*"), glob("may*")]);
}

#[tokio::test]
async fn target_that_comes_and_goes_around_a_refused_one_is_heard() {
    let (redis, redis_log) = restricted().await;
    let mut pubsub = redis_log.pubsub(name(FIRST), 1000);
    assert_eq!(answers(&mut pubsub).await, (vec![name(FIRST)], vec![]));
    for _ in 0..20 {
        pubsub.subscribe([name("may.a"), name("may.b"), name("other")]).await;
        pubsub.unsubscribe([name("may.a"), name("other")]).await;
        pubsub.subscribe([name("may.a"), name("may.c")]).await;
        until(&mut pubsub, &subscribed("may.c")).await;
        redis.tell("PUBLISH may.c end").await;
        until(&mut pubsub, &message("may.c", b"end")).await;
        for channel in ["may.a", "may.b", "may.c"] {
            redis.tell(&format!("PUBLISH {channel} now")).await;
        }
        for channel in ["may.a", "may.b", "may.c"] {
            until(&mut pubsub, &message(channel, b"now")).await;
        }
        pubsub.unsubscribe([name("may.a"), name("may.b"), name("may.c")]).await;
    }
}

#[tokio::test]
async fn without_the_first_target_nothing_is_heard() {
    let (redis, redis_log) = restricted().await;
    let mut pubsub = redis_log.pubsub(name("other"), 1000);
    pubsub.subscribe([name("may.a")]).await;
    for _ in 0..3 {
        let PubsubEvent::Disconnected { reason } = pubsub.next().await else { panic!("it was let in") };
        assert!(reason.contains("NOPERM"), "{reason}");
    }
    redis.tell("ACL SETUSER ann &other").await;
    while pubsub.next().await != subscribed("other") {}
    assert_eq!(pubsub.next().await, subscribed("may.a"));
    assert_eq!(pubsub.next().await, PubsubEvent::Ready);
}
