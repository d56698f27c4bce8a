use super::*;

#[tokio::test]
async fn a_value_is_taken_once() {
    let redis = RedisServer::start();
    let redis_log = redis_log(&redis);
    redis_log.set("ticket:1", b"\0value", Duration::from_secs(60)).await.unwrap();
    assert_eq!(redis_log.get("ticket:1").await.unwrap().as_deref(), Some(&b"\0value"[..]));
    let (one, other) = tokio::join!(redis_log.take("ticket:1"), redis_log.take("ticket:1"));
    let taken = [one.unwrap(), other.unwrap()];
    assert_eq!(taken.iter().flatten().collect::<Vec<_>>(), [&b"\0value"[..]]);
    assert_eq!(redis_log.get("ticket:1").await, Ok(None));
}

#[tokio::test]
async fn a_value_ends_with_its_time() {
    let redis = RedisServer::start();
    redis_log(&redis).set("session", b"1", Duration::from_secs(60)).await.unwrap();
    let left = redis.execute("PTTL {test}:state:session").integer();
    assert!((1..=60_000).contains(&left), "{left} ms");
}

#[tokio::test]
async fn a_node_message_arrives_on_the_live_channel() {
    let (_redis, redis_log) = log_with(&[]).await;
    let mut pubsub = redis_log.pubsub(PubsubTarget::Name(redis_log.keys.live.clone().into()), 1000);
    while pubsub.next().await != PubsubEvent::Ready {}
    redis_log.send_node_message(&node_messages::NodeMessage::Marker(7)).await.unwrap();
    let (channel, payload) = ("{test}:live".into(), "mark 0000000000000007".into());
    assert_eq!(pubsub.next().await, PubsubEvent::Message { channel, payload });
}
