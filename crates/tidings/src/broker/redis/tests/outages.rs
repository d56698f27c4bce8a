use super::*;

#[tokio::test]
async fn a_server_that_hangs_leaves_the_outcome_unknown() {
    let redis = RedisServer::start();
    let patient = begun(&redis).await;
    let options = RedisLogOptions { deadline: Duration::from_millis(300), ..options(&redis) };
    let redis_log = RedisLog::new(&options).unwrap();
    fill(&redis_log, &["a"]).await;
    redis.pause();
    let outcome = redis_log.append(&[publish([keyed("b", 2, "ann", "k1")])], seen(1, 1)).await;
    assert!(matches!(outcome, Err(AppendError::Fault(RedisError::OutcomeUnknown(_)))), "{outcome:?}");
    redis.resume();
    // Redis stored the event, and a retry with its key finds it.
    let outcomes = patient.append(&[publish([keyed("b", 3, "ann", "k1")])], seen(1, 1)).await.unwrap();
    assert_eq!(outcomes, [AppendOutcome::Appended(vec![repeat(2, 2)])]);
}

#[tokio::test]
async fn without_a_server_surely_nothing_is_done() {
    let redis = RedisServer::start();
    let redis_log = begun(&redis).await;
    drop(redis);
    let outcome = redis_log.append(&[publish([event("a", 1)])], NOTHING_SEEN).await;
    assert!(matches!(outcome, Err(AppendError::Fault(RedisError::NotApplied(_)))), "{outcome:?}");
}

#[tokio::test]
async fn a_server_that_may_not_write_refuses_the_whole_batch() {
    let redis = RedisServer::start();
    let redis_log = begun(&redis).await;
    fill(&redis_log, &["a"]).await;
    let batch = [publish([event("b", 2), event("c", 3)])];
    redis.execute("CONFIG SET maxmemory 1");
    let outcome = redis_log.append(&batch, seen(1, 1)).await;
    assert!(matches!(outcome, Err(AppendError::Fault(RedisError::NotApplied(_)))), "{outcome:?}");
    redis.execute("CONFIG SET maxmemory 0");
    redis.execute("REPLICAOF 127.0.0.1 1");
    let outcome = redis_log.append(&batch, seen(1, 1)).await;
    assert!(matches!(outcome, Err(AppendError::Fault(RedisError::NotApplied(_)))), "{outcome:?}");
    redis.execute("REPLICAOF NO ONE");
    assert_eq!(redis_log.head().await.unwrap().offset, 1);
    redis_log.append(&batch, seen(1, 1)).await.unwrap();
}

#[tokio::test]
async fn a_batch_that_too_few_replicas_hold_is_unknown() {
    let (redis, replica) = (RedisServer::start(), RedisServer::start());
    begun(&redis).await;
    let short = RedisLogOptions { replicas_min: 1, deadline: Duration::from_millis(300), ..options(&redis) };
    let outcome = RedisLog::new(&short).unwrap().append(&[publish([event("a", 1)])], NOTHING_SEEN).await;
    assert!(matches!(outcome, Err(AppendError::Fault(RedisError::OutcomeUnknown(_)))), "{outcome:?}");
    replica.execute(&format!("REPLICAOF 127.0.0.1 {}", redis.port()));
    let patient = RedisLogOptions { replicas_min: 1, ..options(&redis) };
    let outcomes = RedisLog::new(&patient).unwrap().append(&[publish([event("b", 2)])], NOTHING_SEEN).await;
    assert_eq!(outcomes, Ok(vec![AppendOutcome::Appended(vec![stored(2, 2)])]));
}
