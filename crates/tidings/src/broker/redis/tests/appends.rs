use super::*;

#[tokio::test]
async fn events_take_offsets_without_holes() {
    let redis = RedisServer::start();
    let redis_log = begun(&redis).await;
    let batch = [publish([event("a", 11), event("b", 12)]), publish([event("c", 13)])];
    let outcomes = redis_log.append(&batch, NOTHING_SEEN).await.unwrap();
    assert_eq!(
        outcomes,
        [
            AppendOutcome::Appended(vec![stored(1, 11), stored(2, 12)]),
            AppendOutcome::Appended(vec![stored(3, 13)])
        ]
    );
    let outcomes = redis_log.append(&[publish([event("d", 14)])], seen(3, 13)).await.unwrap();
    assert_eq!(outcomes, [AppendOutcome::Appended(vec![stored(4, 14)])]);
    let head = redis_log.head().await.unwrap();
    assert_eq!((head.offset, head.tag, head.oldest), (4, Tag(14), Some(1)));
    assert_eq!(texts(&redis_log.range(1, 10).await.unwrap()), ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn a_retry_with_a_key_lands_once() {
    let redis = RedisServer::start();
    let redis_log = begun(&redis).await;
    let first = publish([keyed("a", 11, "ann", "k1"), event("b", 12)]);
    let outcomes = redis_log.append(&[first.clone(), first], NOTHING_SEEN).await.unwrap();
    assert_eq!(
        outcomes,
        [
            AppendOutcome::Appended(vec![stored(1, 11), stored(2, 12)]),
            AppendOutcome::Appended(vec![repeat(1, 11), stored(3, 12)])
        ]
    );
    let outcomes = redis_log.append(&[publish([keyed("a", 99, "ann", "k1")])], seen(3, 12)).await.unwrap();
    assert_eq!(outcomes, [AppendOutcome::Appended(vec![repeat(1, 11)])]);
    assert_eq!(redis_log.head().await.unwrap().offset, 3);
}

#[tokio::test]
async fn a_conflict_refuses_its_publish_alone() {
    let redis = RedisServer::start();
    let redis_log = begun(&redis).await;
    let batch = [
        publish([keyed("a", 11, "ann", "k1")]),
        publish([event("b", 12), keyed("other", 13, "ann", "k1")]),
        publish([event("c", 14)]),
    ];
    let outcomes = redis_log.append(&batch, NOTHING_SEEN).await.unwrap();
    assert_eq!(
        outcomes,
        [
            AppendOutcome::Appended(vec![stored(1, 11)]),
            AppendOutcome::Conflict { index: 1 },
            AppendOutcome::Appended(vec![stored(2, 14)])
        ]
    );
    assert_eq!(texts(&redis_log.range(1, 10).await.unwrap()), ["a", "c"]);
}

#[tokio::test]
async fn keys_of_two_publishers_never_meet() {
    let redis = RedisServer::start();
    let redis_log = begun(&redis).await;
    let batch = [publish([keyed("a", 11, "a", "b:c")]), publish([keyed("b", 12, "a:b", "c")])];
    let outcomes = redis_log.append(&batch, NOTHING_SEEN).await.unwrap();
    assert_eq!(
        outcomes,
        [AppendOutcome::Appended(vec![stored(1, 11)]), AppendOutcome::Appended(vec![stored(2, 12)])]
    );
}

#[tokio::test]
async fn a_key_is_known_for_its_window_only() {
    let redis = RedisServer::start();
    let redis_log = begun(&redis).await;
    redis_log.append(&[publish([keyed("a", 11, "ann", "k1")])], NOTHING_SEEN).await.unwrap();
    let left = redis.execute("PTTL {test}:key:ann:k1").integer();
    assert!((1..=60_000).contains(&left), "{left} ms");
}

#[tokio::test]
async fn a_batch_at_its_bounds_is_appended() {
    let redis = RedisServer::start();
    let redis_log = begun(&redis).await;
    let small: Vec<_> = (0..1000).map(|number| keyed("a", number + 1, "ann", &number.to_string())).collect();
    let large = "x".repeat(256 << 10);
    let large = (0..16).map(|number| publish([event(&large, 2000 + number)]));
    let batch: Vec<_> = [publish(small)].into_iter().chain(large).collect();
    let outcomes = redis_log.append(&batch, NOTHING_SEEN).await.unwrap();
    assert_eq!(outcomes.last(), Some(&AppendOutcome::Appended(vec![stored(1016, 2015)])));
    assert_eq!(redis_log.range(1016, 1).await.unwrap()[0].entry.data.len(), 256 << 10);
}

#[tokio::test]
async fn every_field_of_an_entry_comes_back() {
    let redis = RedisServer::start();
    let redis_log = begun(&redis).await;
    let mut event = event("line\r\nline \u{0} \u{1f409}", 11);
    event.entry.channels = ["a.b", "user:1"].map(|name| ChannelName::parse(name).unwrap()).into();
    event.entry.event = Some(tidings_protocol::EventName::parse("created").unwrap());
    event.entry.priority = Priority::Critical;
    event.entry.key = Some("row 7".into());
    event.entry.expires_at = Some(1_800_000_000_000);
    let expected = format!("{:?}", event.entry);
    redis_log.append(&[publish([event])], NOTHING_SEEN).await.unwrap();
    let read = redis_log.range(1, 1).await.unwrap().remove(0);
    assert_eq!((read.offset, read.epoch, read.tag), (1, EPOCH, Tag(11)));
    assert_eq!(format!("{:?}", read.entry), expected);
}

#[tokio::test]
async fn an_appender_of_an_old_epoch_is_refused() {
    let redis = RedisServer::start();
    let redis_log = begun(&redis).await;
    redis_log.begin_epoch(EPOCH, new_epoch(Epoch(8))).await.unwrap();
    let refused = redis_log.append(&[publish([event("a", 11)])], NOTHING_SEEN).await;
    assert_eq!(refused, Err(AppendError::Refused(AppendRefusal::OldEpoch { newest: Some(Epoch(8)) })));
    redis.execute("FLUSHALL");
    let refused = redis_log.append(&[publish([event("a", 11)])], NOTHING_SEEN).await;
    assert_eq!(refused, Err(AppendError::Refused(AppendRefusal::OldEpoch { newest: None })));
    assert_eq!(redis_log.head().await.unwrap().offset, 0);
}

#[tokio::test]
async fn an_appender_that_saw_what_was_rolled_back_is_refused() {
    let redis = RedisServer::start();
    let redis_log = begun(&redis).await;
    fill(&redis_log, &["a", "b"]).await;
    redis.execute("SAVE");
    fill(&redis_log, &["c"]).await;
    redis.execute("DEBUG RELOAD NOSAVE");
    assert_eq!(redis_log.head().await.unwrap().offset, 2);
    let refused = Err(AppendError::Refused(AppendRefusal::Diverged { head: 2 }));
    assert_eq!(redis_log.append(&[publish([event("d", 14)])], seen(3, 3)).await, refused);

    // A node that did not see it continues, and takes its offset for another entry.
    redis_log.append(&[publish([event("other", 21)])], seen(2, 2)).await.unwrap();
    let refused = Err(AppendError::Refused(AppendRefusal::Diverged { head: 3 }));
    assert_eq!(redis_log.append(&[publish([event("d", 14)])], seen(3, 3)).await, refused);
    redis_log.append(&[publish([event("more", 22)])], seen(3, 21)).await.unwrap();
    let refused = Err(AppendError::Refused(AppendRefusal::Diverged { head: 4 }));
    assert_eq!(redis_log.append(&[publish([event("d", 14)])], seen(3, 3)).await, refused);
    redis_log.append(&[publish([event("last", 23)])], seen(3, 21)).await.unwrap();
    assert_eq!(texts(&redis_log.range(1, 10).await.unwrap()), ["a", "b", "other", "more", "last"]);
}

#[tokio::test]
async fn a_witness_below_what_was_trimmed_is_taken() {
    let redis = RedisServer::start();
    let redis_log = begun(&redis).await;
    fill(&redis_log, &["a", "b", "c"]).await;
    redis.execute("XTRIM {test}:log MINID = 3-0");
    redis_log.append(&[publish([event("d", 14)])], seen(1, 77)).await.unwrap();
    redis.execute("XDEL {test}:log 3-0");
    redis.execute("XADD {test}:log 5-0 m 00000005");
    redis.execute("HSET {test}:meta head 5 tag 00000005");
    redis.execute("XDEL {test}:log 4-0");
    redis.execute("XADD {test}:log 7-0 m 00000007");
    redis.execute("HSET {test}:meta head 7 tag 00000007");
    let refused = redis_log.append(&[publish([event("x", 15)])], seen(6, 6)).await;
    assert_eq!(refused, Err(AppendError::Refused(AppendRefusal::Diverged { head: 7 })));
}

#[tokio::test]
async fn a_server_that_forgot_the_script_is_told_it_again() {
    let redis = RedisServer::start();
    let redis_log = begun(&redis).await;
    fill(&redis_log, &["a"]).await;
    redis.execute("SCRIPT FLUSH");
    fill(&redis_log, &["b"]).await;
    assert_eq!(texts(&redis_log.range(1, 10).await.unwrap()), ["a", "b"]);
}

#[tokio::test]
async fn a_foreign_value_at_an_idempotency_key_is_replaced() {
    let redis = RedisServer::start();
    let redis_log = begun(&redis).await;
    redis.execute("LPUSH {test}:key:ann:k1 x");
    let batch = [publish([event("a", 11)]), publish([keyed("b", 12, "ann", "k1")])];
    let outcomes = redis_log.append(&batch, NOTHING_SEEN).await.unwrap();
    assert_eq!(
        outcomes,
        [AppendOutcome::Appended(vec![stored(1, 11)]), AppendOutcome::Appended(vec![stored(2, 12)])]
    );
    let outcomes = redis_log.append(&[publish([keyed("b", 13, "ann", "k1")])], seen(2, 12)).await.unwrap();
    assert_eq!(outcomes, [AppendOutcome::Appended(vec![repeat(2, 12)])]);
}
