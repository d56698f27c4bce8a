use super::*;
use crate::broker::redis::resp::RedisReply;

#[tokio::test]
async fn a_value_is_taken_once() {
    let redis = Process::start();
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
    let redis = Process::start();
    redis_log(&redis).set("session", b"1", Duration::from_secs(60)).await.unwrap();
    let RedisReply::Number(left) = redis.ask("PTTL {test}:state:session").await else { panic!("no number") };
    assert!((1..=60_000).contains(&left), "{left} ms");
}
