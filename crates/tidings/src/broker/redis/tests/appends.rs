use super::*;

/// Texts of the log, oldest first.
async fn log_texts(redis_log: &RedisLog) -> Vec<String> {
    redis_log.range(1, 10).await.unwrap().iter().map(|stored| stored.entry.data.to_string()).collect()
}

#[tokio::test]
async fn outcomes_of_a_batch_follow_its_publishes() {
    let (a, b, c) = (keyed("a", 11, "ann", "k1"), event("b", 12), event("c", 14));
    let cases = [
        (
            "events take offsets without holes",
            vec![publish([event("a", 11), b.clone()]), publish([event("c", 13)])],
            vec![appended([stored(1, 11), stored(2, 12)]), appended([stored(3, 13)])],
            vec!["a", "b", "c"],
        ),
        (
            "a retry with a key lands once",
            vec![publish([a.clone(), b.clone()]), publish([a.clone(), b.clone()])],
            vec![appended([stored(1, 11), stored(2, 12)]), appended([repeat(1, 11), stored(3, 12)])],
            vec!["a", "b", "b"],
        ),
        (
            "a conflict refuses its publish alone",
            vec![publish([a]), publish([b, keyed("other", 13, "ann", "k1")]), publish([c])],
            vec![appended([stored(1, 11)]), AppendOutcome::Conflict { index: 1 }, appended([stored(2, 14)])],
            vec!["a", "c"],
        ),
        (
            "keys of two publishers never meet",
            vec![publish([keyed("a", 11, "a", "b:c")]), publish([keyed("b", 12, "a:b", "c")])],
            vec![appended([stored(1, 11)]), appended([stored(2, 12)])],
            vec!["a", "b"],
        ),
    ];
    for (name, batch, expected, texts) in cases {
        let (_redis, redis_log) = log_with(&[]).await;
        assert_eq!(redis_log.append(&batch, NOTHING_SEEN).await.unwrap(), expected, "{name}");
        assert_eq!(log_texts(&redis_log).await, texts, "{name}");
    }
}

#[tokio::test]
async fn the_next_batch_continues_at_the_head() {
    let (_redis, redis_log) = log_with(&["a", "b"]).await;
    assert_eq!(append_one(&redis_log, event("c", 13), seen(2, 2)).await, Ok(appended([stored(3, 13)])));
    let keyed = |tag| keyed("d", tag, "ann", "k1");
    assert_eq!(append_one(&redis_log, keyed(14), seen(3, 13)).await, Ok(appended([stored(4, 14)])));
    assert_eq!(append_one(&redis_log, keyed(99), seen(4, 14)).await, Ok(appended([repeat(4, 14)])));
    let head = redis_log.head().await.unwrap();
    assert_eq!((head.offset, head.tag, head.oldest), (4, Tag(14), Some(1)));
}

#[tokio::test]
async fn a_key_is_known_for_its_window_only() {
    let (redis, redis_log) = log_with(&[]).await;
    append_one(&redis_log, keyed("a", 11, "ann", "k1"), NOTHING_SEEN).await.unwrap();
    let left = redis.execute("PTTL {test}:key:ann:k1").integer();
    assert!((1..=60_000).contains(&left), "{left} ms");
}

#[tokio::test]
async fn a_batch_at_its_bounds_is_appended() {
    let (_redis, redis_log) = log_with(&[]).await;
    let small: Vec<_> = (0..1000).map(|number| keyed("a", number + 1, "ann", &number.to_string())).collect();
    let large = "x".repeat(256 << 10);
    let large = (0..16).map(|number| publish([event(&large, 2000 + number)]));
    let batch: Vec<_> = [publish(small)].into_iter().chain(large).collect();
    let outcomes = redis_log.append(&batch, NOTHING_SEEN).await.unwrap();
    assert_eq!(outcomes.last(), Some(&appended([stored(1016, 2015)])));
    assert_eq!(redis_log.range(1016, 1).await.unwrap()[0].entry.data.len(), 256 << 10);
}

#[tokio::test]
async fn all_that_an_entry_says_comes_back() {
    let (_redis, redis_log) = log_with(&[]).await;
    let mut event = event("line\r\nline \u{0} \u{1f409}", 11);
    event.entry.channels = ["a.b", "user:1"].map(|name| ChannelName::parse(name).unwrap()).into();
    event.entry.event = Some(tidings_protocol::EventName::parse("created").unwrap());
    event.entry.priority = Priority::Critical;
    event.entry.key = Some("row 7".into());
    event.entry.expires_at = Some(1_800_000_000_000);
    let expected = format!("{:?}", event.entry);
    append_one(&redis_log, event, NOTHING_SEEN).await.unwrap();
    let read = redis_log.range(1, 1).await.unwrap().remove(0);
    assert_eq!((read.offset, read.epoch, read.tag), (1, EPOCH, Tag(11)));
    assert_eq!(format!("{:?}", read.entry), expected);
}

#[tokio::test]
async fn an_appender_of_an_old_epoch_is_refused() {
    let (redis, redis_log) = log_with(&[]).await;
    redis_log.begin(HeadOf(EPOCH), new_epoch(Epoch(8)), None).await.unwrap();
    let refused = |newest| Err(AppendError::Refused(AppendRefusal::OldEpoch { newest }));
    assert_eq!(append_one(&redis_log, event("a", 11), NOTHING_SEEN).await, refused(Some(Epoch(8))));
    redis.execute("FLUSHALL");
    assert_eq!(append_one(&redis_log, event("a", 11), NOTHING_SEEN).await, refused(None));
    assert_eq!(redis_log.head().await.unwrap().offset, 0);
}

#[tokio::test]
async fn an_appender_that_saw_what_was_rolled_back_is_refused() {
    let (redis, redis_log) = log_with(&["a", "b"]).await;
    redis.execute("SAVE");
    fill(&redis_log, &["c"]).await;
    redis.execute("DEBUG RELOAD NOSAVE");
    assert_eq!(redis_log.head().await.unwrap().offset, 2);
    // A node that did not see it continues, and takes its offset for another entry.
    for (head, (text, tag), witness) in
        [(2, ("other", 21), seen(2, 2)), (3, ("more", 22), seen(3, 21)), (4, ("last", 23), seen(3, 21))]
    {
        let refused = Err(AppendError::Refused(AppendRefusal::Diverged { head }));
        assert_eq!(append_one(&redis_log, event("d", 14), seen(3, 3)).await, refused);
        append_one(&redis_log, event(text, tag), witness).await.unwrap();
    }
    assert_eq!(log_texts(&redis_log).await, ["a", "b", "other", "more", "last"]);
}

#[tokio::test]
async fn a_witness_below_what_was_trimmed_is_taken() {
    let (redis, redis_log) = log_with(&["a", "b", "c"]).await;
    redis.execute("XTRIM {test}:log MINID = 3-0");
    append_one(&redis_log, event("d", 14), seen(1, 77)).await.unwrap();
    for command in [
        "XDEL {test}:log 3-0",
        "XADD {test}:log 5-0 m 00000005",
        "HSET {test}:meta head 5 tag 00000005",
        "XDEL {test}:log 4-0",
        "XADD {test}:log 7-0 m 00000007",
        "HSET {test}:meta head 7 tag 00000007",
    ] {
        redis.execute(command);
    }
    let refused = Err(AppendError::Refused(AppendRefusal::Diverged { head: 7 }));
    assert_eq!(append_one(&redis_log, event("x", 15), seen(6, 6)).await, refused);
}

#[tokio::test]
async fn a_server_that_forgot_the_script_is_told_it_again() {
    let (redis, redis_log) = log_with(&["a"]).await;
    redis.execute("SCRIPT FLUSH");
    fill(&redis_log, &["b"]).await;
    assert_eq!(log_texts(&redis_log).await, ["a", "b"]);
}

#[tokio::test]
async fn a_foreign_value_at_an_idempotency_key_is_replaced() {
    let (redis, redis_log) = log_with(&["a"]).await;
    redis.execute("LPUSH {test}:key:ann:k1 x");
    let keyed = |tag| keyed("b", tag, "ann", "k1");
    assert_eq!(append_one(&redis_log, keyed(12), seen(1, 1)).await, Ok(appended([stored(2, 12)])));
    assert_eq!(append_one(&redis_log, keyed(13), seen(2, 12)).await, Ok(appended([repeat(2, 12)])));
}
