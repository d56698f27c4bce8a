use super::*;
use crate::TcpProxy;

#[test]
fn server_answers_pauses_and_restarts() {
    let redis = RedisServer::start();
    assert_eq!(redis.command(&["SET", "a", "é\r\n"]), RespReply::Text("OK".to_owned()));
    assert_eq!(redis.command(&["GET", "a"]).text(), "é\r\n");
    assert_eq!(redis.command(&["GET", "b"]), RespReply::Null);
    assert!(matches!(redis.command(&["NO"]), RespReply::Error(_)));
    let mut subscriber = redis.connect();
    let words = ["subscribe".to_owned(), "c".to_owned()].map(RespReply::Text);
    assert_eq!(subscriber.command(&["SUBSCRIBE", "c"]).list()[..2], words);
    assert_eq!(redis.command(&["PUBLISH", "c", "1"]).integer(), 1);
    assert_eq!(subscriber.reply().list()[2], RespReply::Text("1".to_owned()));
    assert_eq!(redis.client_kill("pubsub"), 1);
    assert!(subscriber.is_closed());
    let mut waiting = redis.connect();
    redis.pause();
    waiting.send(&["PING"]).unwrap();
    redis.resume();
    assert_eq!(waiting.reply().text(), "PONG");
    redis.restart();
    assert_eq!(redis.command(&["GET", "a"]), RespReply::Null);
}

#[test]
fn durable_server_finds_its_data_after_a_restart() {
    let redis = RedisServer::start_durable();
    redis.command(&["SET", "a", "1"]);
    let first = redis.info("run_id");
    redis.restart();
    assert_ne!(redis.info("run_id"), first);
    assert_eq!(redis.command(&["GET", "a"]).text(), "1");
    redis.restart_empty();
    assert_eq!(redis.command(&["GET", "a"]), RespReply::Null);
}

#[test]
fn replica_synchronizes_and_is_promoted() {
    let primary = RedisServer::start();
    primary.command(&["SET", "a", "1"]);
    let replica = RedisServer::start_replica_of(&primary);
    assert_eq!(replica.command(&["GET", "a"]).text(), "1");
    let before = replica.info("master_replid");
    assert_eq!(before, primary.info("master_replid"));
    let proxy = TcpProxy::start(primary.address());
    let mut client = RespConnection::open(proxy.address()).unwrap();
    assert_eq!(client.command(&["SET", "b", "1"]), RespReply::Text("OK".to_owned()));
    // The replica does not receive the writes that follow; they are lost with the primary.
    replica.promote();
    assert_eq!(client.command(&["SET", "c", "1"]), RespReply::Text("OK".to_owned()));
    primary.kill();
    proxy.redirect_to(replica.address());
    let mut client = RespConnection::open(proxy.address()).unwrap();
    assert_eq!(client.command(&["GET", "c"]), RespReply::Null);
    assert_ne!(replica.info("master_replid"), before);
    primary.restart();
    primary.replicate(&replica);
    assert_eq!(primary.info("master_replid"), replica.info("master_replid"));
}

#[test]
fn proxy_closes_connections_and_leads_to_another_server() {
    let (first, second) = (RedisServer::start(), RedisServer::start());
    let proxy = TcpProxy::start(first.address());
    let mut client = RespConnection::open(proxy.address()).unwrap();
    client.command(&["SET", "a", "1"]);
    proxy.redirect_to(second.address());
    assert!(client.is_closed());
    assert_eq!(RespConnection::open(proxy.address()).unwrap().command(&["GET", "a"]), RespReply::Null);
    proxy.redirect_to(first.address());
    assert_eq!(RespConnection::open(proxy.address()).unwrap().command(&["GET", "a"]).text(), "1");
}
