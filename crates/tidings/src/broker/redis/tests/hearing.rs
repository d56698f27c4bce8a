use futures_util::FutureExt;

use super::{
    super::{ears::Wish, live::Word},
    *,
};

async fn until(ears: &mut Ears, wanted: &Heard) {
    while ears.next().await != *wanted {}
}

fn name(name: &str) -> Wish {
    Wish::Name(name.into())
}

fn glob(glob: &str) -> Wish {
    Wish::Glob(glob.into())
}

fn subscribed(channel: &str) -> Heard {
    Heard::Subscribed { wish: name(channel) }
}

fn message(channel: &'static str, payload: &'static [u8]) -> Heard {
    Heard::Message { channel: channel.into(), payload: payload.into() }
}

#[tokio::test]
async fn ears_hear_what_they_subscribed_to() {
    let redis = Process::start();
    let link = begun(&redis).await;
    let mut ears = link.ears(1000);
    ears.subscribe([name(link.live_channel())]).await;
    assert_eq!(ears.next().await, subscribed("{test}:live"));
    assert_eq!(ears.next().await, Heard::Back);
    ears.subscribe([name("old")]).await;
    assert_eq!(ears.next().await, subscribed("old"));
    link.say(&Word::Mark(7)).await.unwrap();
    redis.tell("PUBLISH old hello").await;
    assert_eq!(ears.next().await, message("{test}:live", b"mark 0000000000000007"));
    assert_eq!(ears.next().await, message("old", b"hello"));
    ears.unsubscribe([name("old")]).await;
    ears.subscribe([name("last")]).await;
    until(&mut ears, &subscribed("last")).await;
    redis.tell("PUBLISH old unheard").await;
    redis.tell("PUBLISH last heard").await;
    assert_eq!(ears.next().await, message("last", b"heard"));
}

#[tokio::test]
async fn ears_say_that_they_were_away_and_hear_all_again() {
    let redis = Process::start();
    let mut ears = link(&redis).ears(1000);
    // More than fit into one command.
    let names: Vec<_> = (0..2500).map(|number| name(&format!("channel.{number}"))).collect();
    ears.subscribe(names).await;
    until(&mut ears, &Heard::Back).await;
    for round in 0..3 {
        redis.tell("CLIENT KILL TYPE pubsub").await;
        assert!(matches!(ears.next().await, Heard::Away { .. }), "round {round}");
        until(&mut ears, &Heard::Back).await;
        redis.tell("PUBLISH channel.0 first").await;
        redis.tell("PUBLISH channel.2499 last").await;
        assert_eq!(ears.next().await, message("channel.0", b"first"));
        assert_eq!(ears.next().await, message("channel.2499", b"last"));
    }
}

#[tokio::test]
async fn a_command_on_a_dead_connection_is_said_as_away() {
    let redis = Process::start();
    let mut ears = link(&redis).ears(1000);
    ears.subscribe([name("a")]).await;
    until(&mut ears, &Heard::Back).await;
    redis.tell("CLIENT KILL TYPE pubsub").await;
    ears.subscribe([name("b")]).await;
    ears.subscribe([name("c")]).await;
    assert!(matches!(ears.next().await, Heard::Away { .. }));
    until(&mut ears, &Heard::Back).await;
    redis.tell("PUBLISH c now").await;
    assert_eq!(ears.next().await, message("c", b"now"));
}

#[tokio::test]
async fn a_payload_above_the_bound_is_said_and_passed_over() {
    let redis = Process::start();
    let mut ears = link(&redis).ears(1000);
    ears.subscribe([name("a")]).await;
    until(&mut ears, &Heard::Back).await;
    redis.tell(&format!("PUBLISH a {}", "x".repeat(1_000_000))).await;
    redis.tell("PUBLISH a small").await;
    assert_eq!(ears.next().await, Heard::TooLarge { channel: "a".into(), bytes: 1_000_000 });
    assert_eq!(ears.next().await, message("a", b"small"));
}

#[tokio::test]
async fn a_silent_server_is_asked_and_given_up() {
    let redis = Process::start();
    let options = Options { deadline: Duration::from_millis(300), ..options(&redis) };
    let mut ears = Link::new(&options).unwrap().ears(1000);
    ears.subscribe([name("a")]).await;
    until(&mut ears, &Heard::Back).await;
    redis.stop();
    assert!(matches!(ears.next().await, Heard::Away { .. }));
    redis.go_on();
    until(&mut ears, &Heard::Back).await;
}

#[tokio::test]
async fn ears_get_there_though_each_wait_is_cut_short() {
    let redis = Process::start();
    let mut ears = link(&redis).ears(1000);
    ears.subscribe([name("a")]).await;
    while ears.next().now_or_never() != Some(Heard::Back) {
        tokio::task::yield_now().await;
    }
    redis.tell("PUBLISH a now").await;
    assert_eq!(ears.next().await, message("a", b"now"));
}

#[tokio::test]
async fn a_message_is_heard_once_however_many_wishes_it_fits() {
    let redis = Process::start();
    let mut ears = link(&redis).ears(1000);
    ears.subscribe([glob("a.*"), name("a.b"), glob("*.b"), glob("[a-b]*")]).await;
    until(&mut ears, &Heard::Back).await;
    for channel in ["a.b", "a.c", "c.b", "b", "c", "a.b"] {
        redis.tell(&format!("PUBLISH {channel} now")).await;
    }
    for channel in ["a.b", "a.c", "c.b", "b", "a.b"] {
        assert_eq!(ears.next().await, message(channel, b"now"));
    }
}

#[tokio::test]
async fn a_message_is_heard_once_while_wishes_come_and_go() {
    let redis = Process::start();
    let mut ears = link(&redis).ears(1000);
    ears.subscribe([name("a.b"), name("last")]).await;
    until(&mut ears, &Heard::Back).await;
    let changes = [
        (vec![glob("a.*"), glob("*.b")], vec![name("a.b")]),
        (vec![], vec![glob("*.b")]),
        (vec![name("a.b")], vec![]),
        (vec![glob("*b")], vec![name("a.b"), glob("a.*")]),
    ];
    // The commands of the other connection fall somewhere between those of this one.
    for (number, (more, less)) in changes.into_iter().enumerate() {
        let publish = async {
            for at in 0..50 {
                redis.tell(&format!("PUBLISH a.b {number}-{at}")).await;
            }
            redis.tell("PUBLISH last end").await;
        };
        let hear = async {
            ears.subscribe(more).await;
            ears.unsubscribe(less).await;
            let mut heard = Vec::new();
            loop {
                match ears.next().await {
                    Heard::Message { channel, .. } if &channel[..] == b"last" => return heard,
                    Heard::Message { payload, .. } => heard.push(String::from_utf8(payload.into()).unwrap()),
                    Heard::Subscribed { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        };
        let ((), heard) = tokio::join!(publish, hear);
        assert_eq!(heard, (0..50).map(|at| format!("{number}-{at}")).collect::<Vec<_>>());
    }
}
