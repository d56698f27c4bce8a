//! Revocations with several nodes: a revocation at one node holds at all nodes, also at those that missed its message.

use crate::prelude::*;
use crate::redis_nodes::SHORT_DEADLINE;
use crate::revocations::{HISTORY, STREAM, in_seconds, serve_with_auth};

const ROWS: &str = "{tidings}:state:revocations";

/// A node with a directory of its own, in which it keeps its revocations.
struct RevocationNode {
    directory: TempDirectory,
    hub: TestHub,
}

impl RevocationNode {
    fn start(redis: &RedisServer) -> Self {
        let node = Self::start_in(TempDirectory::create(), redis);
        node.hub.wait_until_ready();
        node
    }

    fn start_in(directory: TempDirectory, redis: &RedisServer) -> Self {
        let hub = serve_with_auth(&directory, &[("REDIS_URL", &redis.url()), SHORT_DEADLINE]);
        Self { directory, hub }
    }

    /// Kills the node, and returns its directory.
    fn kill(self) -> TempDirectory {
        self.hub.kill();
        self.directory
    }

    #[track_caller]
    fn revoke(&self, subject: &Value) {
        self.hub.revoke(subject);
    }

    fn refuses_token(&self, token: &str) -> bool {
        let response = self.hub.get_as(token, HISTORY);
        let is_refused = response.head.status == 401;
        if is_refused {
            response.assert_problem(401, "revoked");
        }
        is_refused
    }

    fn journal(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("data/revocations.log")).unwrap()
    }
}

fn two(redis: &RedisServer) -> [RevocationNode; 2] {
    [RevocationNode::start(redis), RevocationNode::start(redis)]
}

/// A token that a revocation made now refuses.
fn old(user: &str) -> String {
    token_with(user, &json!({"iat": now() - 60}))
}

/// Row of a subject in Redis.
fn row(redis: &RedisServer, name: &str) -> Option<Value> {
    match redis.command(&["HGET", ROWS, name]) {
        RespReply::Null => None,
        row => Some(serde_json::from_str(row.text().split_once(' ').unwrap().1).unwrap()),
    }
}

#[test]
fn revocation_at_one_node_holds_at_the_other_and_in_its_journal() {
    let redis = RedisServer::start();
    let nodes = two(&redis);
    let (old, lost, kept) = (token("u"), token_with("v", &json!({"jti": "lost"})), token("v"));
    let mut ended = [&old, &lost].map(|token| nodes[1].hub.subscribe_as(token, STREAM));
    let mut open = nodes[1].hub.subscribe_as(&kept, STREAM);
    assert!(nodes[0].hub.revoke(&json!({"user": "u"})).assert_status(204).body.is_empty());
    nodes[0].revoke(&json!({"jti": "lost"}));
    nodes[0].revoke(&json!({"session": "s"}));
    ended.iter_mut().for_each(|reader| reader.assert_end("revoked", false));
    for token in [&old, &lost] {
        assert!(nodes[0].refuses_token(token));
        assert!(nodes[1].refuses_token(token));
    }
    nodes[0].hub.assert_delivers("all", "still", &mut open);
    nodes[1].hub.get_as(&kept, HISTORY).assert_status(200);
    eventually("the journal of the other node has all revocations", || {
        [r#""user":"u""#, r#""jti":"lost""#, r#""session":"s""#]
            .iter()
            .all(|text| nodes[1].journal().contains(text))
    });
    let names = ["user:u", "jti:lost", "session:s"];
    assert!(names.iter().all(|name| row(&redis, name).is_some()));
    // A node does not record again the revocation that it published itself.
    assert_eq!(nodes[0].journal().lines().count(), 3);
}

#[test]
fn revocation_reaches_a_node_whose_pubsub_connection_was_just_closed() {
    let redis = RedisServer::start();
    let nodes = two(&redis);
    for round in 0..5 {
        let token = token(&format!("u{round}"));
        let mut reader = nodes[1].hub.subscribe_as(&token, STREAM);
        eventually("a Pub/Sub connection is closed", || redis.client_kill("pubsub") >= 1);
        nodes[0].revoke(&json!({"user": format!("u{round}")}));
        reader.assert_end("revoked", false);
        assert!(nodes[1].refuses_token(&token));
    }
}

#[test]
fn revocation_without_a_message_is_found_by_its_version() {
    let redis = RedisServer::start();
    let nodes = two(&redis);
    let token = token("u");
    let mut reader = nodes[1].hub.subscribe_as(&token, STREAM);
    // From here on Redis denies PUBLISH and SUBSCRIBE.
    redis.command(&["ACL", "SETUSER", "default", "resetchannels"]);
    nodes[0].revoke(&json!({"user": "u"}));
    reader.assert_end("revoked", false);
    assert!(nodes[1].refuses_token(&token));
}

#[test]
fn late_node_refuses_revoked_tokens_as_soon_as_it_is_ready() {
    let redis = RedisServer::start();
    let early = RevocationNode::start(&redis);
    let users: Vec<String> = (0..300).map(|number| format!("u{number}")).collect();
    for user in &users {
        early.revoke(&json!({"user": user}));
    }
    let late = RevocationNode::start(&redis);
    for user in [&users[0], &users[299]] {
        assert!(late.refuses_token(&old(user)));
    }
    late.hub.get_as(&old("v"), HISTORY).assert_status(200);
    eventually("its journal has all revocations", || late.journal().lines().count() == 300);
}

#[test]
fn node_started_without_redis_refuses_the_tokens_in_its_journal() {
    let redis = RedisServer::start();
    let [first, other] = two(&redis);
    let token = token("u");
    first.revoke(&json!({"user": "u"}));
    eventually("the journal of the other node has it", || other.journal().contains("\"u\""));
    let directory = other.kill();
    redis.kill();
    let other = RevocationNode::start_in(directory, &redis);
    assert_eq!(other.hub.get("/readyz").head.status, 503);
    assert!(other.refuses_token(&token));
}

#[test]
fn nodes_restore_revocations_that_redis_lost() {
    let redis = RedisServer::start();
    let nodes = two(&redis);
    let users: Vec<String> = (0..250).map(|number| format!("u{number}")).collect();
    for (number, user) in users.iter().enumerate() {
        nodes[number % 2].revoke(&json!({"user": user}));
    }
    redis.command(&["FLUSHALL"]);
    eventually("Redis has the revocations again", || redis.command(&["HLEN", ROWS]).integer() == 250);
    let late = RevocationNode::start(&redis);
    for node in [&nodes[0], &nodes[1], &late] {
        assert!(users.iter().all(|user| node.refuses_token(&old(user))));
    }
}

#[test]
fn node_publishes_revocations_that_only_its_journal_has() {
    let redis = RedisServer::start();
    let node = RevocationNode::start(&redis);
    node.revoke(&json!({"user": "u"}));
    let directory = node.kill();
    redis.restart_empty();
    let other = RevocationNode::start(&redis);
    let token = old("u");
    let mut reader = other.hub.subscribe_as(&token, STREAM);
    let _again = RevocationNode::start_in(directory, &redis);
    reader.assert_end("revoked", false);
    assert!(other.refuses_token(&token));
}

#[test]
fn concurrent_revocations_of_one_subject_are_merged() {
    let redis = RedisServer::start();
    let nodes = two(&redis);
    for round in 0..10 {
        let name = format!("t{round}");
        let untils = [in_seconds(60).to_string(), in_seconds(3600).to_string()];
        in_parallel(nodes.iter().zip(&untils), |(node, until)| {
            node.revoke(&json!({"jti": name, "until": until}));
        });
        let longest: jiff::Timestamp = untils[1].parse().unwrap();
        let until = row(&redis, &format!("jti:{name}")).unwrap()["until"].as_f64().unwrap();
        assert_eq!((until * 1000.0).round() as i64, longest.as_millisecond());
    }
}

#[test]
fn revocation_that_redis_did_not_apply_holds_locally_and_is_replicated_later() {
    let redis = RedisServer::start_durable();
    let nodes = two(&redis);
    let tokens = [token("paused"), token("killed")];
    let mut readers = tokens.each_ref().map(|token| nodes[1].hub.subscribe_as(token, STREAM));
    redis.pause();
    let response = nodes[0].hub.revoke(&json!({"user": "paused"}));
    response.assert_problem(503, "outcome_unknown");
    assert!(response.text().contains("in force at this node") && response.text().contains("send it again"));
    assert_eq!(response.head.header("retry-after"), Some("1"));
    assert!(nodes[0].refuses_token(&tokens[0]));
    redis.resume();
    readers[0].assert_end("revoked", false);
    redis.kill();
    // The first call may use a connection that Redis has closed.
    let response = nodes[0].hub.revoke(&json!({"user": "killed"}));
    assert_eq!(response.head.status, 503, "{}", response.text());
    nodes[0].hub.revoke(&json!({"user": "killed"})).assert_problem(503, "not_stored");
    assert!(nodes[0].refuses_token(&tokens[1]));
    assert!(!nodes[1].refuses_token(&tokens[1]));
    redis.restart();
    readers[1].assert_end("revoked", false);
    eventually("Redis has both", || {
        row(&redis, "user:paused").is_some() && row(&redis, "user:killed").is_some()
    });
}

#[test]
fn expired_revocation_is_removed_from_redis() {
    let redis = RedisServer::start();
    let nodes = two(&redis);
    let token = token_with("u", &json!({"jti": "brief"}));
    nodes[0].revoke(&json!({"jti": "brief", "until": in_seconds(5).to_string()}));
    assert!(row(&redis, "jti:brief").is_some());
    eventually("the other node refuses it", || nodes[1].refuses_token(&token));
    nodes[0].revoke(&json!({"jti": "long", "until": in_seconds(600).to_string()}));
    eventually("the expired row is removed", || row(&redis, "jti:brief").is_none());
    eventually("the revocation has expired", || !nodes[1].refuses_token(&token));
    assert!(row(&redis, "jti:long").is_some());
    assert_eq!(redis.command(&["ZCARD", &format!("{ROWS}:ends")]).integer(), 1);
}
