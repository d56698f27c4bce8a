use std::path::PathBuf;

use futures_util::FutureExt;
use tidings_testkit::{RedisServer, eventually};

use super::*;
use crate::{TlsFiles, testing};

fn command(words: &str) -> RedisCommand {
    let (name, arguments) = words.split_once(' ').unwrap_or((words, ""));
    arguments.split_terminator(' ').fold(RedisCommand::new(name), RedisCommand::arg)
}

async fn request(pool: &ConnectionPool, words: &str) -> Result<RedisReply, RedisError> {
    pool.request(&[command(words)], 0).await?.remove(0).into_result()
}

/// Waits until Redis has read all that clients have sent it, up to the end of their connections.
fn connections_are_gone(redis: &RedisServer) {
    eventually("connections are gone", || !redis.execute("CLIENT LIST").text().contains("name=tidings"));
}

/// Cuts a call at each of its bytes, and compares the answers with the numbers that Redis then has at `keys`.
async fn cut_at_each_byte(commands: &[&str], preparations: usize, keys: &str) {
    let redis = RedisServer::start();
    let pool = testing::pool(&redis);
    let sent: Vec<_> = commands.iter().copied().map(command).collect();
    let bytes: usize = sent.iter().map(RedisCommand::wire_bytes).sum();
    let mut outcomes = [0, 0];
    for cut in 0..bytes {
        pool.cut_next_call_after(cut).await.unwrap();
        let answer = pool.request(&sent, preparations).await;
        connections_are_gone(&redis);
        let was_done = redis.execute(&format!("EXISTS {keys}")).integer() > 0;
        let is_expected = match answer {
            Err(RedisError::NotApplied(_)) => !was_done,
            Err(RedisError::OutcomeUnknown(_)) => was_done,
            _ => false,
        };
        assert!(is_expected, "{commands:?}, cut after {cut} of {bytes} bytes: {answer:?}");
        outcomes[usize::from(was_done)] += 1;
        redis.execute("FLUSHALL");
    }
    let may_be_done = commands.len() > 1 + preparations;
    assert!(outcomes[0] > 0 && (outcomes[1] > 0) == may_be_done, "{commands:?}: {outcomes:?}");
}

#[tokio::test]
async fn call_that_is_cut_anywhere_is_done_only_if_its_outcome_is_unknown() {
    cut_at_each_byte(&["INCR a"], 0, "a").await;
    cut_at_each_byte(&["INCR a", "INCR b"], 0, "a b").await;
    // The preparation changes no data.
    cut_at_each_byte(&["SCRIPT LOAD return", "INCR a"], 1, "a").await;
}

#[tokio::test]
async fn idle_connections_that_were_closed_are_replaced_without_a_failure() {
    let redis = RedisServer::start();
    let pool = testing::pool(&redis);
    request(&pool, "INCR a").await.unwrap();
    let opened = pool.connector().connections_opened();
    redis.execute("CLIENT KILL TYPE normal");
    assert_eq!(request(&pool, "INCR a").await, Ok(RedisReply::Number(2)));
    assert_eq!(pool.connector().connections_opened(), opened + 1);
}

#[tokio::test]
async fn a_dropped_call_does_not_answer_the_next() {
    let redis = RedisServer::start();
    let pool = testing::pool(&redis);
    request(&pool, "SET a 1").await.unwrap();
    redis.pause();
    let mut call = Box::pin(request(&pool, "GET a"));
    // The command is sent, and waits for its reply.
    assert_eq!(call.as_mut().now_or_never(), None);
    drop(call);
    redis.resume();
    assert_eq!(request(&pool, "GET b").await, Ok(RedisReply::Nil));
}

#[tokio::test]
async fn user_password_and_database_are_those_of_the_url() {
    let redis = RedisServer::options().password("p@ss").start();
    redis.execute("ACL SETUSER ann on >word ~* &* +@all");
    let pool =
        |login| testing::pool_at(&format!("redis://{login}@{}/3", redis.address()), &TlsFiles::default());
    request(&pool("ann:word"), "SET a 1").await.unwrap();
    request(&pool(":p%40ss"), "SET b 1").await.unwrap();
    assert_eq!(redis.execute("DBSIZE").integer(), 0);
    let refused = request(&pool("ann:wrong"), "GET a").await;
    let Err(RedisError::NotApplied(fact)) = refused else { panic!("{refused:?}") };
    assert!(fact.contains("WRONGPASS") && !fact.contains("wrong@"), "{fact}");
}

#[tokio::test]
async fn a_server_with_tls_is_spoken_to_if_its_authority_is_known() {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tidings-server/tests/tls"));
    let [cert, key, ca] = ["first.cert.pem", "first.key.pem", "ca.pem"].map(|name| folder.join(name));
    let listen = ["--port", "0", "--tls-port", "{port}", "--tls-auth-clients", "no"];
    let files = [("--tls-cert-file", &cert), ("--tls-key-file", &key), ("--tls-ca-cert-file", &ca)];
    let files = files.into_iter().flat_map(|(option, path)| [option.into(), path.display().to_string()]);
    let redis = RedisServer::options().arguments(listen).arguments(files).start();
    let url = format!("rediss://localhost:{}", redis.port());
    let pool = testing::pool_at(&url, &TlsFiles { ca: Some(ca), client: None });
    let large = "x".repeat(256 << 10);
    request(&pool, &format!("SET a {large}")).await.unwrap();
    assert_eq!(request(&pool, "GET a").await.unwrap().str(), Some(&large[..]));
    assert_eq!(pool.connector().connections_opened(), 1);
    let stranger = request(&testing::pool_at(&url, &TlsFiles::default()), "GET a").await;
    assert!(matches!(stranger, Err(RedisError::NotApplied(_))), "{stranger:?}");
}
