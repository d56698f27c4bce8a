use tidings_log::EpochRow;

use super::*;

fn row(epoch: Epoch, begins_after: u64) -> EpochRow {
    EpochRow { epoch: epoch.0, begins_after, lost: LostChannels::None }
}

#[tokio::test]
async fn of_two_that_begin_the_log_one_does() {
    let redis = RedisServer::start();
    let (one, other) = (redis_log(&redis), redis_log(&redis));
    assert_eq!(one.head().await.unwrap().newest(), None);
    let begun = RedisEpoch { row: row(EPOCH, 0), of: None };
    assert_eq!(one.begin(Nothing, new_epoch(EPOCH), None).await, Ok(Now(begun.clone())));
    assert_eq!(other.begin(Nothing, new_epoch(Epoch(8)), None).await, Ok(Other { newest: Some(EPOCH) }));
    let head = other.head().await.unwrap();
    assert_eq!((head.epochs, head.offset, head.tag, head.oldest), (vec![begun], 0, Tag(0), None));
    assert_eq!((head.epoch_replid.as_str(), head.replid.len()), ("r1", 40));
}

#[tokio::test]
async fn a_log_without_its_meta_is_not_begun_again() {
    let (redis, redis_log) = log_with(&["a"]).await;
    redis.execute("DEL {test}:meta");
    assert_eq!(redis_log.begin(Nothing, new_epoch(Epoch(8)), None).await, Ok(Other { newest: None }));
    assert!(redis_log.head().await.unwrap().lacks.is_some());
}

#[tokio::test]
async fn an_epoch_begins_at_the_head_for_one_who_knows_the_newest() {
    let (_redis, redis_log) = log_with(&["a", "b"]).await;
    let new = NewEpoch { replid: "r2".into(), ..new_epoch(Epoch(u64::MAX)) };
    let begun = RedisEpoch { row: row(Epoch(u64::MAX), 2), of: None };
    assert_eq!(redis_log.begin(HeadOf(EPOCH), new.clone(), None).await, Ok(Now(begun.clone())));
    assert_eq!(redis_log.begin(HeadOf(EPOCH), new, None).await, Ok(Other { newest: Some(Epoch(u64::MAX)) }));
    let head = redis_log.head().await.unwrap();
    assert_eq!((head.newest(), head.epochs.len(), head.epoch_replid.as_str()), (Some(&begun), 2, "r2"));
}

#[tokio::test]
async fn a_loss_is_told_once() {
    let (_redis, redis_log) = log_with(&["a"]).await;
    let channels = vec!["a.b".into(), "c".into()];
    let new = NewEpoch { lost: LostChannels::Channels(channels), ..new_epoch(Epoch(8)) };
    let lost = (EPOCH, 1 << 52);
    let Ok(Now(begun)) = redis_log.begin(HeadOf(EPOCH), new.clone(), Some(lost)).await else {
        panic!("not begun")
    };
    assert_eq!((begun.row.begins_after, &begun.row.lost, begun.of), (1, &new.lost, Some(lost)));
    let again = NewEpoch { epoch: Epoch(9), lost: LostChannels::All, ..new };
    for newest in [EPOCH, Epoch(8)] {
        assert_eq!(redis_log.begin(HeadOf(newest), again.clone(), Some(lost)).await, Ok(Known));
    }
    let higher = (EPOCH, (1 << 52) + 1);
    assert!(matches!(redis_log.begin(HeadOf(Epoch(8)), again, Some(higher)).await, Ok(Now(_))));
    let rows = redis_log.head().await.unwrap().epochs;
    assert_eq!(rows.iter().map(|it| it.row.epoch).collect::<Vec<_>>(), [7, 8, 9]);
    assert_eq!((&rows[1], &rows[2].row.lost), (&begun, &LostChannels::All));
}

#[tokio::test]
async fn offsets_above_those_that_a_short_number_holds_are_exact() {
    let (redis, redis_log) = log_with(&[]).await;
    let head = 1 << 52;
    redis.execute(&format!("HSET {{test}}:meta head {head} tag 00000001"));
    for (tag, expected) in [(2, stored(head + 1, 2)), (3, repeat(head + 1, 2))] {
        let outcome = append_one(&redis_log, keyed("a", tag, "ann", "k"), NOTHING_SEEN).await;
        assert_eq!(outcome, Ok(appended([expected])));
    }
    let Ok(Now(begun)) = redis_log.begin(HeadOf(EPOCH), new_epoch(Epoch(8)), None).await else {
        panic!("not begun")
    };
    assert_eq!((begun.row.begins_after, redis_log.head().await.unwrap().offset), (head + 1, head + 1));
}

#[tokio::test]
async fn another_servers_data_shows_by_its_replication_id() {
    let (one, other) = (RedisServer::start(), RedisServer::start());
    let redis_log = begun(&one).await;
    fill(&redis_log, &["a"]).await;
    let before = redis_log.head().await.unwrap();
    one.replicate(&other);
    let refused = append_one(&redis_log, event("b", 2), seen(1, 1)).await;
    // The replica is empty and read-only.
    assert_eq!(refused, Err(AppendError::Refused(AppendRefusal::OldEpoch { newest: None })));
    one.execute("REPLICAOF NO ONE");
    let after = redis_log.head().await.unwrap();
    assert_ne!(before.replid, after.replid);
    assert_eq!((after.offset, after.newest()), (0, None));
}
