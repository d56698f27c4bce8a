//! A node that may not hear all that its readers want, and one that hears nothing.

use super::process::{Directory, Hub, eventually};
use super::redis_server::{Keeps, RedisServer};

/// A hub whose user in Redis may hear so much besides what is the hub's own.
fn hub_that_may_hear(redis: &RedisServer, directory: &Directory, channels: &[&str]) -> Hub {
    let user = ["ACL", "SETUSER", "hub", "reset", "on", ">word", "+@all", "~*"];
    redis.command(&[&user[..], channels].concat());
    let url = format!("redis://hub:word@{}", redis.authority());
    Hub::with_redis_at(directory, &url, &[])
}

#[test]
fn channel_that_redis_refuses_is_the_only_one_that_is_not_heard() {
    let (redis, directory) = (RedisServer::start_with(Keeps::Nothing, &[]), Directory::new());
    let hub = hub_that_may_hear(&redis, &directory, &["&{tidings}:*", "&may.*"]);
    hub.until_ready();
    let mut refused = hub.subscribe("/api/v1/events/other");
    let mut heard = hub.subscribe("/api/v1/events?channel=may.1&channel=other");
    refused.position();
    heard.position();
    eventually("it is refused", || hub.metric("tidings_broker_refused_total") > 0.0);
    eventually("the other is heard", || redis.command(&["PUBLISH", "may.1", "heard"]).integer() == 1);
    assert_eq!(redis.command(&["PUBLISH", "other", "unheard"]).integer(), 0);
    hub.post("/api/v1/events/other?store=false", "live").is(200);
    assert_eq!(heard.several(2), ["heard", "live"]);
    assert_eq!(refused.data(), "live");
    assert_eq!(hub.get("/readyz").head.status, 200);
}

#[test]
fn node_that_hears_nothing_is_not_ready_and_says_why() {
    let (redis, directory) = (RedisServer::start_with(Keeps::Nothing, &[]), Directory::new());
    let hub = hub_that_may_hear(&redis, &directory, &["&may.*"]);
    eventually("it says why", || {
        let answer = hub.get("/readyz");
        answer.head.status == 503 && answer.json()["detail"].as_str().unwrap().contains("NOPERM")
    });
    redis.command(&["ACL", "SETUSER", "hub", "&{tidings}:*"]);
    hub.until_ready();
}
