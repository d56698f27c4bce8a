//! Samples that break each rule, and ones that only look like it.

use super::{locks_of_sync, no_http_in_the_core, no_unbounded_channel, only_node_spawns};
use crate::tidy::TextFile;

fn check(rule: fn(&[TextFile]) -> Vec<String>, path: &str, text: &str, faults: usize) {
    let file = TextFile { path: format!("crates/tidings/src/{path}"), text: text.to_owned() };
    let found = rule(&[file]);
    assert_eq!(found.len(), faults, "{path}: {text}: {found:?}");
}

#[test]
fn http_types_are_refused_in_the_core_only() {
    let rule = no_http_in_the_core;
    check(rule, "log.rs", "use http::StatusCode;", 1);
    check(rule, "hub/shard.rs", "fn a(b: hyper::body::Bytes) {}", 1);
    check(rule, "connection.rs", "use axum;", 1);
    check(rule, "publish.rs", "use http_body_util::{BodyExt, Full};", 2);
    check(rule, "http/error.rs", "use http::StatusCode;", 0);
    check(rule, "transport/hyper.rs", "use hyper::body::Body;", 0);
    check(rule, "log.rs", "// http::StatusCode\nuse bytes::Bytes; const A: &str = \"http://b\";", 0);
    check(rule, "log.rs", "#[cfg(test)] mod tests { use http::StatusCode; }", 0);
}

#[test]
fn channels_without_a_bound_are_refused() {
    let rule = no_unbounded_channel;
    check(rule, "hub.rs", "let (a, b) = tokio::sync::mpsc::unbounded_channel();", 1);
    check(rule, "hub.rs", "let (a, b) = mpsc::channel();", 1);
    check(rule, "hub.rs", "let (a, b) = std::sync::mpsc::channel::<Vec<u8>>();", 1);
    check(rule, "hub.rs", "use std::sync::mpsc::channel; fn a() { let (b, c) = channel(); }", 1);
    check(rule, "hub.rs", "struct A { b: mpsc::UnboundedSender<u8> }", 1);
    check(rule, "hub/tests.rs", "let (a, b) = mpsc::channel();", 1);
}

#[test]
fn channels_with_a_bound_and_other_channels_are_free() {
    let rule = no_unbounded_channel;
    check(rule, "hub.rs", "let (a, b) = mpsc::channel(16); let c = mpsc::channel::<u8>(LIMIT);", 0);
    check(rule, "hub.rs", "entry.channel(); fn channel() {} oneshot::channel(); Subscription::channel();", 0);
    check(rule, "hub.rs", "let (a, b) = mpsc::sync_channel(1); // no unbounded_channel", 0);
}

#[test]
fn locks_of_the_standard_library_are_refused_outside_sync() {
    let rule = locks_of_sync;
    check(rule, "hub.rs", "use std::sync::{Arc, Mutex, RwLock};", 2);
    check(rule, "log/store.rs", "struct A(std::sync::Condvar);", 1);
    check(rule, "hub.rs", "use std::{fmt, sync::Mutex};", 1);
    check(rule, "hub.rs", "use crate::sync::{Lock, Mutex}; use std::sync::{Arc, OnceLock};", 0);
    check(rule, "auth.rs", "use tokio::sync::Mutex as AsyncMutex;", 0);
    check(rule, "sync/held.rs", "use std::sync::Mutex;", 0);
    check(rule, "hub/tests.rs", "use std::sync::Mutex;", 0);
}

#[test]
fn only_node_starts_tasks_and_threads() {
    let rule = only_node_spawns;
    check(rule, "hub.rs", "tokio::spawn(a);", 1);
    check(rule, "hub.rs", "use std::thread; fn a() { thread::spawn(b); }", 1);
    check(rule, "hub.rs", "use tokio::{spawn, net::TcpListener};", 1);
    check(rule, "hub.rs", "std::thread::Builder::new().name(a).spawn(b)?;", 1);
    check(rule, "hub.rs", "let mut set = JoinSet::new(); set.spawn(a);", 1);
    check(rule, "node.rs", "tokio::spawn(a);", 0);
    check(rule, "node/listen.rs", "tokio::spawn(a);", 0);
    check(rule, "hub.rs", "#[cfg(test)] mod tests { fn a() { tokio::spawn(b); } }", 0);
    check(rule, "hub/tests.rs", "tokio::spawn(a);", 0);
    check(rule, "hub.rs", "tasks.spawn(a); fn spawn() {} // tokio::spawn", 0);
}
