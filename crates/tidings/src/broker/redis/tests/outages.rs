use super::*;

#[tokio::test]
async fn a_server_that_hangs_leaves_the_outcome_unknown() {
    let redis = RedisServer::start();
    let patient = begun(&redis).await;
    let options = RedisLogOptions { deadline: Duration::from_millis(300), ..options(&redis) };
    let redis_log = RedisLog::new(&options).unwrap();
    fill(&redis_log, &["a"]).await;
    redis.pause();
    let outcome = append_one(&redis_log, keyed("b", 2, "ann", "k1"), seen(1, 1)).await;
    assert!(matches!(outcome, Err(AppendError::Fault(RedisError::OutcomeUnknown(_)))), "{outcome:?}");
    redis.resume();
    // Redis stored the event, and a retry with its key finds it.
    let outcome = append_one(&patient, keyed("b", 3, "ann", "k1"), seen(1, 1)).await;
    assert_eq!(outcome, Ok(appended([repeat(2, 2)])));
}

#[tokio::test]
async fn without_a_server_surely_nothing_is_done() {
    let (redis, redis_log) = log_with(&[]).await;
    drop(redis);
    let outcome = append_one(&redis_log, event("a", 1), NOTHING_SEEN).await;
    assert!(matches!(outcome, Err(AppendError::Fault(RedisError::NotApplied(_)))), "{outcome:?}");
}

#[tokio::test]
async fn a_server_that_may_not_write_refuses_the_whole_batch() {
    let (redis, redis_log) = log_with(&["a"]).await;
    let batch = [publish([event("b", 2), event("c", 3)])];
    for (refuse, accept) in
        [("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"), ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE")]
    {
        redis.execute(refuse);
        let outcome = redis_log.append(&batch, seen(1, 1)).await;
        assert!(matches!(outcome, Err(AppendError::Fault(RedisError::NotApplied(_)))), "{outcome:?}");
        redis.execute(accept);
    }
    assert_eq!(redis_log.head().await.unwrap().offset, 1);
    redis_log.append(&batch, seen(1, 1)).await.unwrap();
}

#[tokio::test]
async fn a_batch_that_too_few_replicas_hold_is_unknown() {
    let (redis, replica) = (RedisServer::start(), RedisServer::start());
    begun(&redis).await;
    let short = RedisLogOptions { replicas_min: 1, deadline: Duration::from_millis(300), ..options(&redis) };
    let outcome = append_one(&RedisLog::new(&short).unwrap(), event("a", 1), NOTHING_SEEN).await;
    assert!(matches!(outcome, Err(AppendError::Fault(RedisError::OutcomeUnknown(_)))), "{outcome:?}");
    replica.execute(&format!("REPLICAOF 127.0.0.1 {}", redis.port()));
    let patient = RedisLogOptions { replicas_min: 1, ..options(&redis) };
    let outcome = append_one(&RedisLog::new(&patient).unwrap(), event("b", 2), NOTHING_SEEN).await;
    assert_eq!(outcome, Ok(appended([stored(2, 2)])));
}
