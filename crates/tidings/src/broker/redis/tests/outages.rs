use super::*;

#[tokio::test]
async fn idle_connections_that_were_closed_are_replaced_without_a_failure() {
    let redis = Process::start();
    let redis_log = begun(&redis).await;
    fill(&redis_log, &["a"]).await;
    let opened = redis_log.connections_opened();
    redis.tell("CLIENT KILL TYPE normal").await;
    fill(&redis_log, &["b"]).await;
    assert_eq!(redis_log.connections_opened(), opened + 1);
}

#[tokio::test]
async fn a_server_that_hangs_leaves_the_outcome_unknown() {
    let redis = Process::start();
    let patient = begun(&redis).await;
    let options = RedisLogOptions { deadline: Duration::from_millis(300), ..options(&redis) };
    let redis_log = RedisLog::new(&options).unwrap();
    fill(&redis_log, &["a"]).await;
    redis.stop();
    let outcome = redis_log.append(&[publish([keyed("b", 2, "ann", "k1")])], seen(1, 1)).await;
    assert!(matches!(outcome, Err(AppendError::Fault(RedisError::OutcomeUnknown(_)))), "{outcome:?}");
    redis.go_on();
    // Redis stored the event, and a retry with its key finds it.
    let outcomes = patient.append(&[publish([keyed("b", 3, "ann", "k1")])], seen(1, 1)).await.unwrap();
    assert_eq!(outcomes, [AppendOutcome::Appended(vec![repeat(2, 2)])]);
}

#[tokio::test]
async fn without_a_server_surely_nothing_is_done() {
    let redis = Process::start();
    let redis_log = begun(&redis).await;
    drop(redis);
    let outcome = redis_log.append(&[publish([event("a", 1)])], NOTHING_SEEN).await;
    assert!(matches!(outcome, Err(AppendError::Fault(RedisError::NotApplied(_)))), "{outcome:?}");
}

#[tokio::test]
async fn a_server_that_may_not_write_refuses_the_whole_batch() {
    let redis = Process::start();
    let redis_log = begun(&redis).await;
    fill(&redis_log, &["a"]).await;
    let batch = [publish([event("b", 2), event("c", 3)])];
    redis.tell("CONFIG SET maxmemory 1").await;
    let outcome = redis_log.append(&batch, seen(1, 1)).await;
    assert!(matches!(outcome, Err(AppendError::Fault(RedisError::NotApplied(_)))), "{outcome:?}");
    redis.tell("CONFIG SET maxmemory 0").await;
    redis.tell("REPLICAOF 127.0.0.1 1").await;
    let outcome = redis_log.append(&batch, seen(1, 1)).await;
    assert!(matches!(outcome, Err(AppendError::Fault(RedisError::NotApplied(_)))), "{outcome:?}");
    redis.tell("REPLICAOF NO ONE").await;
    assert_eq!(redis_log.head().await.unwrap().offset, 1);
    redis_log.append(&batch, seen(1, 1)).await.unwrap();
}

#[tokio::test]
async fn a_batch_that_too_few_replicas_hold_is_unknown() {
    let (redis, replica) = (Process::start(), Process::start());
    begun(&redis).await;
    let short = RedisLogOptions { replicas_min: 1, deadline: Duration::from_millis(300), ..options(&redis) };
    let outcome = RedisLog::new(&short).unwrap().append(&[publish([event("a", 1)])], NOTHING_SEEN).await;
    assert!(matches!(outcome, Err(AppendError::Fault(RedisError::OutcomeUnknown(_)))), "{outcome:?}");
    replica.tell(&format!("REPLICAOF 127.0.0.1 {}", redis.port())).await;
    let patient = RedisLogOptions { replicas_min: 1, ..options(&redis) };
    let outcomes = RedisLog::new(&patient).unwrap().append(&[publish([event("b", 2)])], NOTHING_SEEN).await;
    assert_eq!(outcomes, Ok(vec![AppendOutcome::Appended(vec![stored(2, 2)])]));
}

#[tokio::test]
async fn a_dropped_call_does_not_answer_the_next() {
    let redis = Process::start();
    let redis_log = Arc::new(begun(&redis).await);
    redis_log.set("a", b"1", Duration::from_secs(60)).await.unwrap();
    redis.stop();
    let mut call = Box::pin(redis_log.get("a"));
    // The command is sent, and waits for its reply.
    assert!(futures_util::poll!(&mut call).is_pending());
    drop(call);
    redis.go_on();
    assert_eq!(redis_log.get("b").await, Ok(None));
}

#[tokio::test]
async fn user_password_and_database_are_those_of_the_url() {
    let redis = Process::start_with(&["--requirepass", "p@ss"]).with_password("p%40ss");
    redis.tell("ACL SETUSER ann on >word ~* &* +@all").await;
    let url = format!("redis://ann:word@127.0.0.1:{}/3", redis.port());
    let redis_log = RedisLog::new(&RedisLogOptions { url: Secret::new(url), ..options(&redis) }).unwrap();
    redis_log.begin(new_epoch(EPOCH)).await.unwrap();
    fill(&redis_log, &["a"]).await;
    assert_eq!(redis.ask("DBSIZE").await, resp::RedisReply::Number(0));
    let url = format!("redis://ann:wrong@127.0.0.1:{}", redis.port());
    let redis_log = RedisLog::new(&RedisLogOptions { url: Secret::new(url), ..options(&redis) }).unwrap();
    let Err(RedisError::NotApplied(fact)) = redis_log.head().await else { panic!("it was let in") };
    assert!(fact.contains("WRONGPASS") && !fact.contains("wrong@"), "{fact}");
}

#[tokio::test]
async fn a_server_with_tls_is_spoken_to_if_its_authority_is_known() {
    let file = |name| format!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tidings-server/tests/tls/{}"), name);
    let (cert, key, ca) = (file("first.cert.pem"), file("first.key.pem"), file("ca.pem"));
    let listen = ["--port", "0", "--tls-port", "{port}", "--tls-auth-clients", "no"];
    let files = ["--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
    let redis = Process::start_with(&[&listen[..], &files].concat());
    let url = Secret::new(format!("rediss://localhost:{}", redis.port()));
    let secure =
        RedisLogOptions { url, tls_files: TlsFiles { ca: Some(ca.into()), client: None }, ..options(&redis) };
    let redis_log = RedisLog::new(&secure).unwrap();
    redis_log.begin(new_epoch(EPOCH)).await.unwrap();
    fill(&redis_log, &["a", &"x".repeat(256 << 10)]).await;
    assert_eq!(redis_log.range(2, 1).await.unwrap()[0].entry.data.len(), 256 << 10);
    assert_eq!(redis_log.connections_opened(), 1);
    let stranger = RedisLog::new(&RedisLogOptions { tls_files: TlsFiles::default(), ..secure }).unwrap();
    assert!(matches!(stranger.head().await, Err(RedisError::NotApplied(_))));
}
