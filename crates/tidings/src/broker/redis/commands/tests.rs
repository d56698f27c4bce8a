use std::{sync::Arc, time::Duration};

use tidings_testkit::{RedisServer, eventually};

use super::*;
use crate::broker::redis::append_call::AppendError;
use crate::broker::redis::shared_table::SharedTable;
use crate::broker::redis::tests::{NOTHING_SEEN, begun, event, fill, new_row, options, publish};

/// Waits until Redis has read all that nodes have sent it, up to the end of their connections.
fn connections_are_gone(redis: &RedisServer) {
    eventually("connections are gone", || !redis.execute("CLIENT LIST").text().contains("name=tidings"));
}

#[tokio::test]
async fn an_append_is_unknown_where_the_connection_is_cut_inside_wait() {
    let redis = RedisServer::start();
    let patient = begun(&redis).await;
    fill(&patient, &["a"]).await;
    let short = RedisLogOptions { replicas_min: 1, deadline: Duration::from_millis(500), ..options(&redis) };
    let redis_log = RedisLog::new(&short).unwrap();
    drop(patient);
    let (mut head, mut stored) = (1, 0);
    for cut in 0.. {
        redis_log.pool.cut_next_call_after(cut).await.unwrap();
        let answer = redis_log.append(&[publish([event("b", 2)])], NOTHING_SEEN).await;
        let Err(AppendError::Fault(fault)) = answer else { panic!("cut after {cut} bytes: {answer:?}") };
        if fault.to_string().contains("replicas hold the batch") {
            break;
        }
        connections_are_gone(&redis);
        let now = redis.execute("XLEN {test}:log").integer();
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
    let redis = RedisServer::start();
    let redis_log = Arc::new(RedisLog::new(&options(&redis)).unwrap());
    let table = SharedTable::new(redis_log.clone(), "people", rand::random);
    // More than are sent at once.
    let puts: Vec<_> = (0..150).map(|number| new_row(&format!("row {number}"), &"x".repeat(100))).collect();
    // Redis knows the script.
    table.put_if(&puts, 0).await.unwrap();
    redis.execute("DEL {test}:state:people");
    let (mut none, mut some) = (0, 0);
    for cut in (0..).step_by(1_000) {
        redis_log.pool.cut_next_call_after(cut).await.unwrap();
        let answer = table.put_if(&puts, 0).await;
        if answer.is_ok() {
            break;
        }
        connections_are_gone(&redis);
        let rows = redis.execute("HLEN {test}:state:people").integer();
        assert_eq!(matches!(answer, Err(RedisError::OutcomeUnknown(_))), rows > 0, "{rows} rows, {answer:?}");
        *(if rows > 0 { &mut some } else { &mut none }) += 1;
        redis.execute("DEL {test}:state:people");
    }
    assert!(none > 0 && some > 50, "{none} {some}");
}

#[tokio::test]
async fn free_lease_goes_to_the_node_that_received_most() {
    for place in ["0 1 5", ""] {
        let redis = RedisServer::start();
        let redis_log = RedisLog::new(&options(&redis)).unwrap();
        redis.command(&["SET", "{test}:capture:place", place]);
        let mut nodes = [redis.connect(), redis.connect()];
        for node in &mut nodes {
            node.command(&["SUBSCRIBE", "{test}:live"]);
        }
        let minute = Duration::from_secs(60);
        let ask = async |name: &str, marks: &[u64]| {
            redis_log.acquire_lease(name, minute, minute, marks).await.unwrap().0
        };
        assert!(!ask("older", &[2]).await);
        assert!(!ask("newer", &[3]).await, "the node lacks messages between the markers 2 and 3");
        assert!(ask("older", &[2, 3]).await);
    }
}
