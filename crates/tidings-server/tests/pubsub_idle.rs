//! Nodes to which Redis denies subscriptions, and nodes without any.

use crate::prelude::*;

/// A hub whose Redis user has these rules of an ACL besides those of all commands and keys.
fn hub_with_rules(redis: &RedisServer, rules: &[&str], settings: &[(&str, &str)]) -> TestHub {
    let user = ["ACL", "SETUSER", "hub", "reset", "resetchannels", "on", ">word", "+@all", "~*"];
    redis.command(&[&user[..], rules].concat());
    let url = format!("redis://hub:word@{}", redis.address());
    TestHub::with_redis_at(&url, settings)
}

#[test]
fn denied_channel_is_the_only_one_without_messages() {
    let redis = RedisServer::start();
    let hub = hub_with_rules(&redis, &["&{tidings}:*", "&may.*"], &[]);
    hub.wait_until_ready();
    let mut refused = hub.open_stream("/api/v1/events/other");
    let mut heard = hub.open_stream("/api/v1/events?channel=may.1&channel=other");
    eventually("the subscription is denied", || hub.metric("tidings_redis_subscriptions_denied_total") > 0.0);
    eventually("the other channel is subscribed", || {
        redis.command(&["PUBLISH", "may.1", "heard"]).integer() == 1
    });
    assert_eq!(redis.command(&["PUBLISH", "other", "unheard"]).integer(), 0);
    hub.post("/api/v1/events/other?store=false", "live").assert_status(200);
    assert_eq!(heard.data_of_next(2), ["heard", "live"]);
    assert_eq!(refused.data(), "live");
    assert_eq!(hub.get("/readyz").head.status, 200);
}

#[test]
fn node_without_subscriptions_is_not_ready_and_says_why() {
    let redis = RedisServer::start();
    let hub = hub_with_rules(&redis, &["&may.*"], &[]);
    hub.wait_until_unready("NOPERM");
    redis.command(&["ACL", "SETUSER", "hub", "&{tidings}:*"]);
    hub.wait_until_ready();
}

#[test]
fn node_whose_user_lacks_a_command_is_not_ready_and_names_the_rule() {
    let redis = RedisServer::start();
    for command in ["info", "evalsha", "xread"] {
        let mut hub = hub_with_rules(&redis, &["&*", &format!("-{command}")], &[]);
        let reason = format!("'{command}' command; give the user of redis.url the ACL rule +{command}");
        hub.wait_until_unready(&reason);
        hub.read_log_through(&reason);
        redis.command(&["ACL", "SETUSER", "hub", &format!("+{command}")]);
        hub.wait_until_ready();
    }
}

/// Redis compares a pattern with those of its ACL byte by byte.
#[test]
fn pattern_narrower_than_the_acl_is_received_by_the_pattern_of_the_setting() {
    let redis = RedisServer::start();
    let listen = [("TIDINGS_REDIS_LISTEN", "project.**,*.news")];
    let hub = hub_with_rules(&redis, &["&{tidings}:*", "&project.*", "&*.news"], &listen);
    hub.wait_until_ready();
    let [mut of_project, mut of_name, mut of_news] = ["project.42.*", "project.42.a", "*.news"]
        .map(|channels| hub.open_stream(&format!("/api/v1/events/{channels}")));
    eventually("the patterns are subscribed", || {
        let copies = |channel| redis.command(&["PUBLISH", channel, "early"]).integer();
        copies("project.42.early") == 1 && copies("early.news") == 1
    });
    for channel in ["project.43.a", "project.42", "__keyevent.news", "$a.news", "{a}.news", "other"] {
        redis.command(&["PUBLISH", channel, "unheard"]);
    }
    for channel in ["project.42.a", "a.news", "_.news"] {
        redis.command(&["PUBLISH", channel, channel]);
    }
    let after_early = |reader: &mut SseReader| loop {
        let data = reader.data();
        if data != "early" {
            return data;
        }
    };
    assert_eq!(after_early(&mut of_project), "project.42.a");
    assert_eq!(of_name.data(), "project.42.a");
    assert_eq!(after_early(&mut of_news), "a.news");
    assert_eq!(of_news.data(), "_.news");
    assert_eq!(hub.metric("tidings_redis_subscriptions_denied_total"), 0.0);
    assert_eq!(hub.metric("tidings_capture_rejected_total"), 0.0);
}

#[test]
fn denied_capture_makes_a_node_unready_until_it_is_granted() {
    let redis = RedisServer::start();
    let settings = [("TIDINGS_REDIS_LISTEN", "project.**"), ("TIDINGS_REDIS_CAPTURE", "project.jobs.*")];
    let hub = hub_with_rules(&redis, &["&{tidings}:*"], &settings);
    hub.wait_until_unready("project.jobs.*");
    // Granting a right closes no connection.
    redis.command(&["ACL", "SETUSER", "hub", "&project.*"]);
    hub.wait_until_ready();
    redis.command(&["PUBLISH", "project.others.1", "not captured"]);
    redis.command(&["PUBLISH", "project.jobs.1", "captured"]);
    eventually("the message is in the log", || hub.stored("project.jobs.1") == ["captured"]);
    assert_eq!(hub.metric("tidings_capture_appended_total"), 1.0);
}
