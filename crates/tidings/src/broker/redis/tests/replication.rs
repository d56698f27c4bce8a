use super::{tables::begun_or_there, *};

/// So long that a test whose event never comes fails by its duration, not by chance.
const BLOCK: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_tail_waits_for_what_comes_next() {
    let (_redis, redis_log) = log_with(&[]).await;
    let mut reader = redis_log.stream_reader();
    assert!(reader.next(0, Duration::from_millis(1)).await.unwrap().is_empty());
    let (stored, ()) = tokio::join!(reader.next(0, BLOCK), fill(&redis_log, &["a"]));
    assert_eq!(texts(&stored.unwrap()), ["a"]);
    fill(&redis_log, &["b", "c"]).await;
    assert_eq!(texts(&reader.next(1, BLOCK).await.unwrap()), ["b", "c"]);
    assert_eq!(reader.next(1, BLOCK).await.unwrap()[0].offset, 2);
}

#[tokio::test]
async fn a_tail_asks_for_as_much_as_fits() {
    let (_redis, redis_log) = log_with(&[]).await;
    let small: Vec<_> = (0..1000).map(|number| event("a", number + 1)).collect();
    let large = "x".repeat(256 << 10);
    let large: Vec<_> = (0..40).map(|number| event(&large, 2000 + number)).collect();
    redis_log.append(&[publish(small)], NOTHING_SEEN).await.unwrap();
    redis_log.append(&[publish(large)], NOTHING_SEEN).await.unwrap();
    let (mut reader, mut after, mut sizes) = (redis_log.stream_reader(), 0, Vec::new());
    while after < 1040 {
        let stored = reader.next(after, BLOCK).await.unwrap();
        assert_eq!(stored[0].offset, after + 1);
        after = stored.last().unwrap().offset;
        sizes.push(stored.len());
    }
    assert_eq!(sizes, [16, 32, 64, 128, 256, 500, 44]);
    assert_eq!(reader.next(1000, BLOCK).await.unwrap().len(), 40);
    assert_eq!(reader.next(0, BLOCK).await.unwrap().len(), 125);
}

#[tokio::test]
async fn a_tail_that_lost_its_connection_says_so_and_goes_on() {
    let (redis, redis_log) = log_with(&["a"]).await;
    let mut reader = redis_log.stream_reader();
    assert_eq!(texts(&reader.next(0, BLOCK).await.unwrap()), ["a"]);
    assert!(reader.is_connected());
    redis.execute("CLIENT KILL TYPE normal");
    assert!(reader.next(1, BLOCK).await.is_err());
    assert!(!reader.is_connected());
    fill(&redis_log, &["b"]).await;
    assert_eq!(texts(&reader.next(1, BLOCK).await.unwrap()), ["b"]);
}

#[tokio::test]
async fn a_tail_of_a_server_that_hangs_ends_at_the_deadline() {
    let redis = RedisServer::start();
    begun(&redis).await;
    let options = RedisLogOptions { deadline: Duration::from_millis(300), ..options(&redis) };
    let mut reader = RedisLog::new(&options).unwrap().stream_reader();
    reader.next(0, Duration::from_millis(1)).await.unwrap();
    redis.pause();
    assert!(matches!(reader.next(0, Duration::from_millis(1)).await, Err(RedisError::OutcomeUnknown(_))));
    redis.resume();
}

#[tokio::test]
async fn an_entry_that_no_hub_wrote_is_an_error_that_names_it() {
    let (redis, redis_log) = log_with(&["a"]).await;
    redis.execute("XADD {test}:log 2-0 d text");
    for fault in [
        redis_log.range(1, 10).await.unwrap_err(),
        redis_log.stream_reader().next(0, BLOCK).await.unwrap_err(),
    ] {
        assert!(fault.to_string().starts_with("event 2 in redis cannot be read: "), "{fault}");
    }
}

#[tokio::test]
async fn what_is_too_old_is_trimmed_but_never_the_newest() {
    const SECOND: u64 = 1000;
    let redis = RedisServer::options().arguments(["--stream-node-max-entries", "1"]).start();
    let redis_log = begun(&redis).await;
    let none = redis_log.trim(Some(0), u64::MAX >> 12).await.unwrap();
    assert_eq!((none.oldest, none.dropped), (None, 0));
    // Event n was published 100 - n minutes ago, by the clock of Redis.
    let now = redis_log.head().await.unwrap().now.unwrap();
    let aged = |number: u32| {
        let mut event = event("a", number);
        event.entry.published_at = now - u64::from(100 - number) * 60 * SECOND;
        event
    };
    redis_log.append(&[publish((1..=50).map(aged).collect::<Vec<_>>())], NOTHING_SEEN).await.unwrap();
    let trimmed = redis_log.trim(Some(6000 * SECOND), 1 << 30).await.unwrap();
    assert_eq!((trimmed.oldest, trimmed.dropped), (Some(1), 0));
    let trimmed = redis_log.trim(Some((69 * 60 + 30) * SECOND), 1 << 30).await.unwrap();
    assert_eq!((trimmed.oldest, trimmed.dropped), (Some(31), 30));
    let trimmed = redis_log.trim(None, 1 << 30).await.unwrap();
    assert_eq!((trimmed.oldest, trimmed.dropped), (Some(31), 0));
    let trimmed = redis_log.trim(Some(SECOND), 1 << 30).await.unwrap();
    assert_eq!((trimmed.oldest, trimmed.dropped), (Some(50), 19));
    append_one(&redis_log, event("b", 51), seen(50, 50)).await.unwrap();
}

#[tokio::test]
async fn time_is_told_where_an_acl_forbids_the_command() {
    let redis = RedisServer::start();
    redis.execute("ACL SETUSER ann on >word ~* &* +@all -time");
    let url = format!("redis://ann:word@127.0.0.1:{}", redis.port());
    let redis_log = redis_log_at(&redis, &url);
    redis_log.begin(Nothing, new_epoch(EPOCH), None).await.unwrap();
    let told = redis_log.head().await.unwrap().now.unwrap();
    let now = begun_or_there(&redis).await.head().await.unwrap().now.unwrap();
    assert!(now.abs_diff(told) < 60_000, "{told} {now}");
}

#[tokio::test]
async fn what_takes_too_much_room_is_trimmed() {
    let redis = RedisServer::options().arguments(["--stream-node-max-entries", "1"]).start();
    let redis_log = begun(&redis).await;
    let large = "x".repeat(10_000);
    let events: Vec<_> = (1..=100).map(|number| event(&large, number)).collect();
    redis_log.append(&[publish(events)], NOTHING_SEEN).await.unwrap();
    let trimmed = redis_log.trim(None, 500_000).await.unwrap();
    assert!(trimmed.bytes > 900_000, "{trimmed:?}");
    let oldest = trimmed.oldest.unwrap();
    assert!((40..=70).contains(&oldest), "{trimmed:?}");
    assert!(redis_log.trim(None, 600_000).await.unwrap().bytes < 600_000);
}
