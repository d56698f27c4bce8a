use std::{sync::Arc, time::Duration};

use super::*;
use crate::broker::redis::{
    append_call::AppendError,
    commands::{RedisLog, RedisLogOptions},
    error::RedisError,
    shared_table::{ConditionalPut, SharedTable, row::RowVersion},
    tests::{NOTHING_SEEN, begun, event, fill, options, process::Process, publish},
};

/// Opens the pool's only connection, and cuts it after so many bytes of the next call.
async fn cut_next_call_after(pool: &ConnectionPool, bytes: usize) {
    let connection = pool.connector.open(pool.connector.due(), TEXT_BYTES_MAX).await.unwrap();
    pool.idle.lock().here = vec![connection.cut_after(bytes)];
}

/// Waits until Redis has read all that nodes have sent it, up to the end of their connections.
async fn connections_are_gone(redis: &Process) {
    while redis.ask("CLIENT LIST").await.str().is_some_and(|list| list.contains("name=tidings")) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn increments(keys: &[&str]) -> Vec<RedisCommand> {
    keys.iter().map(|key| RedisCommand::new("INCR").arg(key)).collect()
}

/// Cuts a call at each of its bytes, and compares the answers with the numbers that Redis then has at `keys`.
async fn cut_at_each_byte(commands: &[RedisCommand], preparations: usize, keys: &[&str]) {
    let redis = Process::start();
    let pool = RedisLog::new(&options(&redis)).unwrap().pool;
    let bytes: usize = commands.iter().map(RedisCommand::wire_bytes).sum();
    let mut outcomes = [0, 0];
    for cut in 0..bytes {
        cut_next_call_after(&pool, cut).await;
        let answer = pool.request(commands, preparations).await;
        connections_are_gone(&redis).await;
        let was_done = redis.ask(&format!("EXISTS {}", keys.join(" "))).await.number() > Some(0);
        match answer {
            Err(RedisError::NotApplied(_)) => assert!(!was_done, "cut after {cut} of {bytes} bytes"),
            Err(RedisError::OutcomeUnknown(_)) => assert!(was_done, "cut after {cut} of {bytes} bytes"),
            other => panic!("cut after {cut} of {bytes} bytes: {other:?}"),
        }
        outcomes[usize::from(was_done)] += 1;
        redis.tell("FLUSHALL").await;
    }
    assert!(outcomes[0] > 0 && (outcomes[1] > 0) == (commands.len() > 1 + preparations), "{outcomes:?}");
}

#[tokio::test]
async fn a_command_cut_anywhere_is_not_done() {
    cut_at_each_byte(&increments(&["a"]), 0, &["a"]).await;
}

#[tokio::test]
async fn commands_cut_behind_the_first_are_unknown() {
    cut_at_each_byte(&increments(&["a", "b"]), 0, &["a", "b"]).await;
}

#[tokio::test]
async fn a_call_cut_behind_its_preparation_is_not_done() {
    let load = RedisCommand::new("SCRIPT").arg("LOAD").arg("return 1");
    let commands = [vec![load], increments(&["a"])].concat();
    cut_at_each_byte(&commands, 1, &["a"]).await;
}

#[tokio::test]
async fn an_append_is_unknown_where_the_connection_is_cut_inside_wait() {
    let redis = Process::start();
    let patient = begun(&redis).await;
    fill(&patient, &["a"]).await;
    let short = RedisLogOptions { replicas_min: 1, deadline: Duration::from_millis(500), ..options(&redis) };
    let redis_log = RedisLog::new(&short).unwrap();
    drop(patient);
    let (mut head, mut stored) = (1, 0);
    for cut in 0.. {
        cut_next_call_after(&redis_log.pool, cut).await;
        let answer = redis_log.append(&[publish([event("b", 2)])], NOTHING_SEEN).await;
        let Err(AppendError::Fault(fault)) = answer else { panic!("cut after {cut} bytes: {answer:?}") };
        if fault.to_string().contains("replicas hold the batch") {
            break;
        }
        connections_are_gone(&redis).await;
        let now = redis.ask("XLEN {test}:log").await.number().unwrap();
        let was_stored = now > head;
        assert_eq!(
            matches!(fault, RedisError::OutcomeUnknown(_)),
            was_stored,
            "cut after {cut} bytes: {fault}"
        );
        head = now;
        stored += usize::from(was_stored);
    }
    // Every byte of `WAIT` but its last.
    assert!(stored > 20, "{stored}");
}

#[tokio::test]
async fn rows_of_which_some_were_put_are_unknown() {
    let redis = Process::start();
    let redis_log = Arc::new(RedisLog::new(&options(&redis)).unwrap());
    let table = SharedTable::new(redis_log.clone(), "people", rand::random);
    let put = |number| ConditionalPut {
        key: format!("row {number}"),
        value: "x".repeat(100),
        until: None,
        expected: RowVersion::default(),
    };
    // More than are sent at once.
    let puts: Vec<_> = (0..150).map(put).collect();
    // Redis knows the script.
    table.put_if(&puts, 0).await.unwrap();
    redis.tell("DEL {test}:state:people").await;
    let (mut none, mut some) = (0, 0);
    for cut in (0..).step_by(1_000) {
        cut_next_call_after(&redis_log.pool, cut).await;
        let answer = table.put_if(&puts, 0).await;
        if answer.is_ok() {
            break;
        }
        connections_are_gone(&redis).await;
        let rows = redis.ask("HLEN {test}:state:people").await.number().unwrap();
        assert_eq!(matches!(answer, Err(RedisError::OutcomeUnknown(_))), rows > 0, "{rows} rows, {answer:?}");
        *(if rows > 0 { &mut some } else { &mut none }) += 1;
        redis.tell("DEL {test}:state:people").await;
    }
    assert!(none > 0 && some > 50, "{none} {some}");
}
