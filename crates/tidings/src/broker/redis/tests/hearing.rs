use futures_util::FutureExt;

use super::*;

async fn until(ears: &mut Ears, wanted: &Heard) {
    while ears.next().await != *wanted {}
}

fn subscribed(channel: &'static str) -> Heard {
    Heard::Subscribed { channel: channel.into() }
}

fn message(channel: &'static str, payload: &'static [u8]) -> Heard {
    Heard::Message { channel: channel.into(), payload: payload.into() }
}

#[tokio::test]
async fn ears_hear_what_they_subscribed_to() {
    let redis = Process::start();
    let link = begun(&redis).await;
    let mut ears = link.ears(1000);
    ears.subscribe([link.live_channel().into()]).await;
    assert_eq!(ears.next().await, subscribed("{test}:live"));
    assert_eq!(ears.next().await, Heard::Back);
    ears.subscribe([b"old".to_vec()]).await;
    assert_eq!(ears.next().await, subscribed("old"));
    link.publish_live(b"\xff\0raw").await.unwrap();
    redis.tell("PUBLISH old hello").await;
    assert_eq!(ears.next().await, message("{test}:live", b"\xff\0raw"));
    assert_eq!(ears.next().await, message("old", b"hello"));
    ears.unsubscribe([b"old".to_vec()]).await;
    ears.subscribe([b"last".to_vec()]).await;
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
    let names: Vec<_> = (0..2500).map(|number| format!("channel.{number}").into_bytes()).collect();
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
    ears.subscribe([b"a".to_vec()]).await;
    until(&mut ears, &Heard::Back).await;
    redis.tell("CLIENT KILL TYPE pubsub").await;
    ears.subscribe([b"b".to_vec()]).await;
    ears.subscribe([b"c".to_vec()]).await;
    assert!(matches!(ears.next().await, Heard::Away { .. }));
    until(&mut ears, &Heard::Back).await;
    redis.tell("PUBLISH c now").await;
    assert_eq!(ears.next().await, message("c", b"now"));
}

#[tokio::test]
async fn a_payload_above_the_bound_is_said_and_passed_over() {
    let redis = Process::start();
    let mut ears = link(&redis).ears(1000);
    ears.subscribe([b"a".to_vec()]).await;
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
    ears.subscribe([b"a".to_vec()]).await;
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
    ears.subscribe([b"a".to_vec()]).await;
    while ears.next().now_or_never() != Some(Heard::Back) {
        tokio::task::yield_now().await;
    }
    redis.tell("PUBLISH a now").await;
    assert_eq!(ears.next().await, message("a", b"now"));
}
