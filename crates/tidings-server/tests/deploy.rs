//! Files in `deploy/`: nginx in front of two hubs, and manifests whose settings the hub accepts.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use super::proxy::Proxy;
use crate::prelude::*;

const NGINX: &str = include_str!("../../../deploy/nginx.conf");
const DOCKERFILE: &str = include_str!("../../../deploy/Dockerfile");
const COMPOSE: &str = include_str!("../../../deploy/compose.yaml");
const KUBERNETES: &str = include_str!("../../../deploy/kubernetes/tidings.yaml");
const MANUAL: &str = include_str!("../../../docs/manual/redis.md");

#[test]
fn events_pass_nginx_one_by_one_from_both_hubs() {
    let hubs = [(); 2].map(|()| TestHub::in_memory(&[]));
    let nginx = Proxy::deployed_nginx([hubs[0].authority(), hubs[1].authority()]);
    let mut readers = [nginx.subscribe("/api/v1/events/a"), nginx.subscribe("/api/v1/events/a")];
    for reader in &readers {
        assert_eq!(reader.head.header("content-type"), Some("text/event-stream; charset=utf-8"));
        assert_eq!(reader.head.header("content-encoding"), None);
    }
    for hub in &hubs {
        eventually("each hub has one of the streams", || hub.connections("a") == 1);
    }
    // Each event arrives before the next is published: no buffer has to fill.
    for number in 0..20 {
        for hub in &hubs {
            hub.publish("a", number.to_string());
        }
        for reader in &mut readers {
            assert_eq!(reader.data(), number.to_string());
        }
    }
    nginx.request("POST", "/api/v1/events/a?store=false", "x").read_response().assert_status(200);
    nginx.request("GET", "/healthz", "").read_response().assert_status(200);
    assert_eq!(nginx.request("GET", "/metrics", "").read_response().head.status, 404);
}

#[test]
fn stream_through_nginx_moves_to_the_remaining_hub() {
    let [first, second] = [(); 2].map(|()| TestHub::in_memory(&[]));
    let nginx = Proxy::deployed_nginx([first.authority(), second.authority()]);
    let mut readers = [nginx.subscribe("/api/v1/events/a"), nginx.subscribe("/api/v1/events/a")];
    eventually("each hub has one stream", || first.connections("a") == 1 && second.connections("a") == 1);
    second.publish("a", "left");
    first.kill();
    // The stream of the stopped hub ends, the other continues.
    let data = readers.each_mut().map(|reader| reader.next_event().map(|event| event.data));
    assert_eq!(data.iter().flatten().collect::<Vec<_>>(), ["left"]);
    let mut again = [nginx.subscribe("/api/v1/events/a"), nginx.subscribe("/api/v1/events/a")];
    eventually("the other hub has all streams", || second.connections("a") == 3);
    second.publish("a", "again");
    for reader in &mut again {
        assert_eq!(reader.data(), "again");
    }
}

#[test]
fn health_check_of_the_image_asks_for_readiness() {
    let line = DOCKERFILE.lines().find_map(|line| line.trim().strip_prefix("CMD [\"bash\""));
    let words: Vec<String> = serde_json::from_str(&format!("[\"bash\"{}", line.unwrap())).unwrap();
    let healthy = |port: &str| {
        let script = words[2].replace("127.0.0.1/8000", &format!("127.0.0.1/{port}"));
        assert_ne!(script, words[2]);
        let status = Command::new(&words[0]).args([&words[1], &script]).stderr(Stdio::null()).status();
        status.unwrap().success()
    };
    let hub = TestHub::in_memory(&[]);
    let port = hub.authority().rsplit(':').next().unwrap().to_owned();
    assert!(healthy(&port));
    hub.kill();
    assert!(!healthy(&port));
    let unready = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = unready.local_addr().unwrap().port().to_string();
    let answering = std::thread::spawn(move || {
        let (mut socket, _) = unready.accept().unwrap();
        socket.write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").unwrap();
    });
    assert!(!healthy(&port));
    answering.join().unwrap();
}

/// The documents in a YAML text.
fn yaml(text: &str) -> Vec<Value> {
    const PROGRAM: &str =
        "import json, sys, yaml\nprint(json.dumps(list(yaml.safe_load_all(sys.stdin.read()))))";
    let mut command = crate::python::python("yaml");
    command.args(["-c", PROGRAM]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    serde_json::from_slice(&child.wait_with_output().unwrap().stdout).expect("valid YAML")
}

/// The Kubernetes document of this kind.
fn kubernetes(kind: &str) -> Value {
    yaml(KUBERNETES).into_iter().find(|document| document["kind"] == kind).expect(kind)
}

/// Settings that the image has for every hub.
fn image_settings() -> Vec<(String, String)> {
    let lines = DOCKERFILE.lines().map(|line| line.trim_start_matches("ENV ").trim().trim_end_matches(" \\"));
    let pairs = lines.filter(|line| line.starts_with("TIDINGS_")).filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Settings of a hub with these variables by name, as `tidings check` prints them.
#[track_caller]
fn checked(
    directory: &TempDirectory,
    arguments: &[&str],
    variables: &[(String, String)],
) -> Vec<(String, String)> {
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (&**name, &**value)).collect();
    let outcome = directory.run(arguments, &variables);
    let values = outcome
        .assert(0, &[])
        .stdout
        .lines()
        .filter_map(|line| line.trim_start_matches("# ").split_once(" = "));
    let value = |text: &str| text.split("  #").next().unwrap().trim().to_owned();
    values.map(|(name, text)| (name.to_owned(), value(text))).collect()
}

fn of<'s>(settings: &'s [(String, String)], name: &str) -> &'s str {
    &settings.iter().find(|(known, _)| known == name).expect(name).1
}

fn seconds(text: &str) -> u64 {
    text.trim_matches('"').trim_end_matches('s').parse().expect(text)
}

/// A value for a variable that the operator supplies.
fn placeholder_value(name: &str) -> String {
    if name == "REDIS_URL" { "rediss://u:w@h:1/0".to_owned() } else { "0123456789abcdef".repeat(3) }
}

#[test]
fn hubs_of_the_compose_file_start_with_its_settings() {
    let compose = yaml(COMPOSE).remove(0);
    for (name, service) in compose["services"].as_object().unwrap() {
        if !name.starts_with("node-") {
            continue;
        }
        let mut variables = image_settings();
        for (name, value) in service["environment"].as_object().unwrap() {
            let text = value.as_str().unwrap();
            let whole = text.starts_with("${");
            let (before, after) = text.split_once("${").unwrap_or((text, ""));
            let after = after.split_once('}').map_or("", |(_, after)| after);
            let value = if whole {
                placeholder_value(name)
            } else if after.is_empty() {
                text.into()
            } else {
                format!("{before}w{after}")
            };
            variables.push((name.clone(), value));
        }
        let settings = checked(&TempDirectory::create(), &["check"], &variables);
        assert!(of(&settings, "redis.url").contains("@redis:6379/0"), "{settings:?}");
        let grace = seconds(service["stop_grace_period"].as_str().unwrap());
        assert!(grace > seconds(of(&settings, "shutdown.window")) + seconds(of(&settings, "redis.deadline")));
        // Addresses of nginx, which the hub trusts as a proxy.
        assert!(NGINX.contains(&format!("server {name}:8000 ")), "{name}");
        assert!(of(&settings, "listen").contains(":8000") && DOCKERFILE.contains("EXPOSE 8000"));
        let network = &compose["networks"]["inside"]["ipam"]["config"][0]["subnet"];
        assert!(of(&settings, "limits.trusted_proxies").contains(network.as_str().unwrap()));
    }
    assert_eq!(compose["services"]["nginx"]["ports"][0], "8080:8080");
    assert!(NGINX.contains("listen 8080;"));
    let secrets = ["TIDINGS_AUTH_SECRET", "REDIS_PASSWORD"];
    assert!(secrets.iter().all(|name| COMPOSE.contains(&format!("${{{name}:?"))), "a secret has no default");
}

#[test]
fn read_timeout_of_nginx_is_two_keep_alives_at_least() {
    let timeout = NGINX.lines().find_map(|line| line.trim().strip_prefix("proxy_read_timeout ")).unwrap();
    let settings = checked(&TempDirectory::create(), &["check"], &[]);
    assert!(seconds(timeout.trim_end_matches(';')) >= 2 * seconds(of(&settings, "stream.keep_alive")));
}

#[test]
fn hubs_of_kubernetes_start_with_its_settings_and_have_time_to_shut_down() {
    let directory = TempDirectory::create();
    let map = kubernetes("ConfigMap");
    directory.write("tidings.toml", map["data"]["tidings.toml"].as_str().unwrap());
    let pod = &kubernetes("Deployment")["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(container["args"], serde_json::json!(["serve", "--config", "/etc/tidings/tidings.toml"]));
    let mut variables = image_settings();
    for variable in container["env"].as_array().unwrap() {
        let name = variable["name"].as_str().unwrap();
        assert!(variable["valueFrom"]["secretKeyRef"]["key"].is_string(), "{name} stands in the file");
        variables.push((name.to_owned(), placeholder_value(name)));
    }
    let settings = checked(&directory, &["check", "--config", "tidings.toml"], &variables);
    let port = container["ports"][0]["containerPort"].as_u64().unwrap();
    assert!(of(&settings, "listen").contains(&format!(":{port}\"")), "{settings:?}");
    let rest =
        ["shutdown.window", "redis.deadline"].map(|name| seconds(of(&settings, name))).iter().sum::<u64>();
    let before = seconds(container["lifecycle"]["preStop"]["exec"]["command"][1].as_str().unwrap());
    assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() > before + rest);
    let hub = TestHub::in_memory(&[]);
    for (probe, path) in
        [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
    {
        assert_eq!(container[probe]["httpGet"], serde_json::json!({"path": path, "port": "http"}));
        hub.get(path).assert_status(200);
    }
    let labels = &kubernetes("Deployment")["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&kubernetes("Service")["spec"]["selector"], labels);
    assert_eq!(&kubernetes("PodDisruptionBudget")["spec"]["selector"]["matchLabels"], labels);
}

#[test]
fn every_variable_in_the_manifests_is_a_setting() {
    let texts = [DOCKERFILE, COMPOSE, KUBERNETES, NGINX, MANUAL].concat();
    let is_part = |symbol: char| symbol.is_ascii_uppercase() || symbol == '_';
    let names: BTreeSet<&str> = texts
        .match_indices("TIDINGS_")
        .map(|(at, _)| texts[at..].split(|symbol| !is_part(symbol)).next().unwrap())
        .collect();
    assert!(names.len() > 4, "{names:?}");
    let variables: Vec<(&str, &str)> = names.iter().map(|name| (*name, "x")).collect();
    let outcome = TempDirectory::create().run(&["check"], &variables);
    for words in ["not a setting", "not available"] {
        assert!(!outcome.stderr.contains(words), "{outcome:?}");
    }
}

/// A Redis with the user of the manual.
fn redis_of_the_manual() -> RedisServer {
    let redis = RedisServer::start();
    let line = MANUAL.lines().find(|line| line.starts_with("ACL SETUSER ")).unwrap();
    assert_eq!(redis.command(&line.split(' ').collect::<Vec<_>>()).text(), "OK");
    redis
}

#[test]
fn redis_user_of_the_manual_has_the_rights_of_a_hub_and_no_others() {
    let redis = redis_of_the_manual();
    let mut connection = redis.connect();
    assert_eq!(connection.command(&["AUTH", "tidings", "password"]).text(), "OK");
    let script = "redis.call('XADD', KEYS[1], '1-0', 'a', 'b') return redis.call('HSET', KEYS[2], 'head', 1)";
    let may: &[&[&str]] = &[
        &["EVAL", script, "2", "{tidings}:log", "{tidings}:meta"],
        &["SCRIPT", "LOAD", "return 1"],
        &["XREAD", "BLOCK", "10", "STREAMS", "{tidings}:log", "0"],
        &["XRANGE", "{tidings}:log", "-", "+"],
        &["XTRIM", "{tidings}:log", "MINID", "~", "1", "LIMIT", "100000"],
        &["EVAL", "return redis.call('MEMORY', 'USAGE', KEYS[1])", "1", "{tidings}:log"],
        &["GETDEL", "{tidings}:state:a"],
        &["SET", "{tidings}:key:a:b", "1", "PX", "1000"],
        &["LRANGE", "{tidings}:epochs", "0", "-1"],
        &["WAIT", "0", "1"],
        &["INFO", "replication"],
        &["CLIENT", "SETNAME", "tidings"],
        &["SELECT", "0"],
        &["MULTI"],
        &["EXEC"],
        &["PING"],
        &["PUBLISH", "{tidings}:live", "x"],
        &["PUBLISH", "{tidings}:changes", "x"],
        &["HGETALL", "{tidings}:state"],
        &["SUBSCRIBE", "project.42"],
        &["UNSUBSCRIBE", "project.42"],
    ];
    for words in may {
        let reply = connection.command(words);
        assert!(!matches!(reply, RespReply::Error(_)), "{words:?}: {reply:?}");
    }
    let may_not: &[&[&str]] = &[
        &["FLUSHALL"],
        &["KEYS", "*"],
        &["SCAN", "0"],
        &["GET", "other"],
        &["SUBSCRIBE", "other"],
        &["PUBLISH", "other", "x"],
        &["CONFIG", "GET", "*"],
        &["CLIENT", "KILL", "TYPE", "normal"],
        &["SCRIPT", "FLUSH"],
        &["REPLICAOF", "NO", "ONE"],
        &["MONITOR"],
    ];
    for words in may_not {
        let reply = connection.command(words);
        assert!(matches!(&reply, RespReply::Error(text) if text.contains("NOPERM")), "{words:?}: {reply:?}");
    }
}

#[test]
fn hub_works_as_the_redis_user_of_the_manual() {
    let redis = redis_of_the_manual();
    let url = redis.url().replacen("redis://", "redis://tidings:password@", 1);
    // The Redis user may subscribe to these channels only.
    let hub = TestHub::with_redis_at(&url, &[("TIDINGS_REDIS_LISTEN", "project.*")]);
    hub.wait_until_ready();
    let mut reader = hub.subscribe("/api/v1/events/project.42");
    drop(reader.position());
    hub.publish("project.42", "kept");
    assert_eq!(reader.data(), "kept");
    hub.post("/api/v1/revocations", "{\"user\":\"u\"}").assert_status(204);
    hub.post("/api/v1/events/project.42?store=false", "passing").assert_status(200);
    assert_eq!(reader.data(), "passing");
    eventually("the hub is subscribed to the channel", || {
        redis.command(&["PUBLISH", "project.42", "old"]).integer() == 1
    });
    assert_eq!(reader.data(), "old");
}
