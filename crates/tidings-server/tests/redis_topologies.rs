//! A log that moves between servers: within a cluster, at a failover by Sentinels, behind several addresses.

use std::ops::Range;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::prelude::*;
use crate::redis_nodes::wait_for_replica;

/// The log's key, which determines its slot.
const LOG: &str = "{tidings}:log";

const PATH: &str = "/api/v1/events/a";

/// Publishes a number with an idempotency key until it is stored.
#[track_caller]
fn publish_one(hub: &TestHub, number: usize) {
    let key = format!("key-{number}");
    eventually("the number is stored", || {
        let headers = [("Idempotency-Key", key.as_str())];
        hub.request("POST", PATH, &headers, number.to_string().as_bytes()).head.status == 200
    });
}

/// Publishes numbers, and reads them.
#[track_caller]
fn publish_and_read(hub: &TestHub, reader: &mut SseReader, range: Range<usize>) {
    range.clone().for_each(|number| publish_one(hub, number));
    assert_eq!(reader.data_of_next(range.len()), numbers(range));
}

/// Publishes numbers during `act` and five after it, and reads them; returns the next number.
#[track_caller]
fn publish_during(hub: &TestHub, reader: &mut SseReader, from: usize, act: impl FnOnce()) -> usize {
    let ends = AtomicBool::new(false);
    let to = thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut number = from;
            while !ends.load(Ordering::Relaxed) {
                publish_one(hub, number);
                number += 1;
            }
            number
        });
        act();
        ends.store(true, Ordering::Relaxed);
        publisher.join().unwrap()
    });
    assert_eq!(reader.data_of_next(to - from), numbers(from..to));
    publish_and_read(hub, reader, to..to + 5);
    to + 5
}

/// A ready hub whose log is in the Redis at this URL, and a stream.
#[track_caller]
fn hub_and_stream(url: &str, settings: &[(&str, &str)]) -> (TestHub, SseReader) {
    let hub = TestHub::with_redis_at(url, settings);
    hub.wait_until_ready();
    let reader = hub.open_stream(PATH);
    (hub, reader)
}

/// Waits until a former primary replicates its successor.
#[track_caller]
fn wait_until_demoted(redis: &RedisServer) {
    eventually("the old primary is a replica", || {
        redis.info("role") == "slave" && redis.info("master_link_status") == "up"
    });
}

/// Path of a file in `tests/tls`.
fn tls_file(name: &str) -> String {
    format!("{}/tests/tls/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Starts a Redis with TLS that trusts this authority for the certificates of clients; returns its URL, too.
fn start_with_tls(clients_ca: &str, auth_clients: &str) -> (RedisServer, String) {
    let port = free_port().to_string();
    let [certificate, key] = ["first.cert.pem", "first.key.pem"].map(tls_file);
    let redis = RedisServer::options()
        .arguments([
            "--tls-port",
            &port,
            "--tls-auth-clients",
            auth_clients,
            "--tls-ca-cert-file",
            clients_ca,
        ])
        .arguments(["--tls-cert-file", &certificate, "--tls-key-file", &key])
        .start();
    (redis, format!("rediss://localhost:{port}"))
}

/// Three primaries with a third of the slots each.
struct RedisCluster {
    nodes: Vec<RedisServer>,
}

impl RedisCluster {
    fn start() -> Self {
        let mut cluster = Self { nodes: (0..3).map(|_| Self::node()).collect() };
        for (number, node) in cluster.nodes.iter().enumerate() {
            let slots = [0..=5460, 5461..=10922, 10923..=16383][number].clone();
            let slots: Vec<String> = slots.map(|slot| slot.to_string()).collect();
            let words = ["CLUSTER", "ADDSLOTS"].into_iter().chain(slots.iter().map(String::as_str));
            node.command(&words.collect::<Vec<_>>());
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
        }
        cluster.introduce_nodes();
        let node_of_log = cluster.node_of_log();
        cluster.nodes.rotate_left(node_of_log);
        cluster
    }

    fn node() -> RedisServer {
        let bus = free_port().to_string();
        let mut arguments = vec!["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"];
        // Before Redis 7.0 the bus port is the port plus 10,000.
        if tidings_testkit::redis::version().has_cluster_port() {
            arguments.extend(["--cluster-port", &bus]);
        }
        RedisServer::options().arguments(&arguments).start()
    }

    /// Introduces all nodes to each other, and waits until the cluster is up.
    #[track_caller]
    fn introduce_nodes(&self) {
        for node in &self.nodes[1..] {
            let (port, bus) =
                (node.port().to_string(), node.command(&["CONFIG", "GET", "cluster-port"]).list());
            let bus = bus.get(1).map(RespReply::text);
            let words = ["CLUSTER", "MEET", "127.0.0.1", &port].into_iter().chain(bus.as_deref());
            self.nodes[0].command(&words.collect::<Vec<_>>());
        }
        let known = format!("cluster_known_nodes:{}", self.nodes.len());
        for node in &self.nodes {
            eventually("the nodes know each other", || {
                let info = node.command(&["CLUSTER", "INFO"]).text();
                info.contains("cluster_state:ok") && info.contains(&known)
            });
        }
    }

    fn node_of_log(&self) -> usize {
        let found =
            self.nodes.iter().position(|node| node.command(&["EXISTS", LOG]) == RespReply::Integer(0));
        found.expect("a node has the slot")
    }

    /// Adds a replica of the node that has the log.
    #[track_caller]
    fn add_replica(&mut self) {
        self.nodes.push(Self::node());
        self.introduce_nodes();
        let primary = self.nodes[0].command(&["CLUSTER", "MYID"]).text();
        let replica = &self.nodes[3];
        eventually("the node becomes a replica", || {
            !matches!(replica.command(&["CLUSTER", "REPLICATE", &primary]), RespReply::Error(_))
        });
        wait_for_replica(&self.nodes[0], replica);
        eventually("all nodes know the replica", || {
            self.nodes
                .iter()
                .all(|node| node.command(&["CLUSTER", "NODES"]).text().contains(&format!("slave {primary}")))
        });
    }

    /// Moves the log's slot with its keys from one node to another.
    #[track_caller]
    fn move_slot(&self, from: usize, to: usize) {
        let slot = self.begin_move(from, to);
        self.migrate_rest(from, to, &slot);
        self.end_move(from, to, &slot);
    }

    /// Moves all remaining keys; they may expire meanwhile.
    #[track_caller]
    fn migrate_rest(&self, from: usize, to: usize, slot: &str) {
        loop {
            let keys = self.nodes[from].command(&["CLUSTER", "GETKEYSINSLOT", slot, "3"]).list();
            if keys.is_empty() {
                return;
            }
            let keys: Vec<String> = keys.iter().map(RespReply::text).collect();
            self.migrate(from, to, &keys.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }

    /// Marks the log's slot as migrating.
    #[track_caller]
    fn begin_move(&self, from: usize, to: usize) -> String {
        let [from, to] = [&self.nodes[from], &self.nodes[to]];
        let slot = from.command(&["CLUSTER", "KEYSLOT", LOG]).integer().to_string();
        let ids = [from, to].map(|node| node.command(&["CLUSTER", "MYID"]).text());
        assert_eq!(to.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ids[0]]).text(), "OK");
        assert_eq!(from.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ids[1]]).text(), "OK");
        slot
    }

    #[track_caller]
    fn migrate(&self, from: usize, to: usize, keys: &[&str]) {
        let port = self.nodes[to].port().to_string();
        let command = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
        let reply = self.nodes[from].command(&[&command[..], keys].concat());
        let is_done = matches!(&reply, RespReply::Text(word) if word == "OK" || word == "NOKEY");
        assert!(is_done, "{keys:?}: {reply:?}");
    }

    #[track_caller]
    fn end_move(&self, from: usize, to: usize, slot: &str) {
        let [from, to] = [&self.nodes[from], &self.nodes[to]];
        let id = to.command(&["CLUSTER", "MYID"]).text();
        for node in [to, from].into_iter().chain(&self.nodes) {
            assert_eq!(node.command(&["CLUSTER", "SETSLOT", slot, "NODE", &id]).text(), "OK");
        }
    }
}

/// A node of a cluster does not answer for a missing key of a migrating slot.
#[test]
fn marked_slot_keeps_no_node_from_being_ready() {
    let cluster = RedisCluster::start();
    let start = || hub_and_stream(&cluster.nodes[0].url(), &[]);
    // No event was published, and no table is shared.
    let (early, mut reader) = start();
    let slot = cluster.begin_move(0, 2);
    // Each node compares its log at its start.
    let (late, _) = start();
    early.publish("a", "0");
    late.publish("a", "1");
    late.post("/api/v1/events/a?store=false", "live").assert_status(200);
    assert_eq!(reader.data_of_next(3), ["0", "1", "live"]);
    start();
    assert_eq!(early.get("/readyz").head.status, 200);
    cluster.migrate_rest(0, 2, &slot);
    cluster.end_move(0, 2, &slot);
    early.wait_until_ready();
    early.assert_delivers("a", "2", &mut reader);
}

#[test]
fn reads_continue_while_keys_are_at_two_nodes_and_publishes_are_not_stored() {
    let cluster = RedisCluster::start();
    // A publish waits longer than a node takes to compare its log.
    let settings = [("TIDINGS_REDIS_DEADLINE", "4s")];
    let (hub, mut reader) = hub_and_stream(&cluster.nodes[0].url(), &settings);
    let start = reader.last_event_id().to_owned();
    hub.publish("a", "0");
    let slot = cluster.begin_move(0, 2);
    cluster.migrate(0, 2, &[LOG]);
    hub.post(PATH, "refused").assert_problem(503, "not_stored");
    hub.post("/api/v1/events/a?store=false", "live").assert_status(200);
    // Keys that a publish needs are at the other node now, and some that the check of the head needs are not.
    cluster.migrate(0, 2, &["{tidings}:meta", "{tidings}:epochs"]);
    hub.publish("a", "1");
    assert_eq!(reader.data_of_next(3), ["0", "live", "1"]);
    assert_eq!(hub.stored("a"), ["0", "1"]);
    assert_eq!(hub.metric("tidings_broker_disconnects_total"), 0.0);
    cluster.migrate_rest(0, 2, &slot);
    hub.publish("a", "2");
    cluster.end_move(0, 2, &slot);
    assert_eq!(reader.data(), "2");
    publish_and_read(&hub, &mut reader, 3..20);
    assert_eq!(hub.resume(PATH, &start).data_of_next(20), numbers(0..20));
    hub.wait_until_ready();
}

#[test]
fn slot_of_the_log_moves_without_loss_or_duplicates() {
    let cluster = RedisCluster::start();
    // The node in the URL does not have the log.
    let (hub, mut reader) = hub_and_stream(&cluster.nodes[1].url(), &[]);
    let start = reader.last_event_id().to_owned();
    let first = publish_during(&hub, &mut reader, 0, || cluster.move_slot(0, 2));
    let second = publish_during(&hub, &mut reader, first, || cluster.move_slot(2, 1));
    assert_eq!(hub.resume(PATH, &start).data_of_next(second), numbers(0..second));
    // Messages of other programs are received from any node.
    eventually("the message is received", || {
        cluster.nodes[0].command(&["PUBLISH", "a", "heard"]);
        cluster.nodes[1].command(&["PUBSUB", "NUMSUB", "a"]).list()[1].integer() == 1
    });
    assert_eq!(reader.data(), "heard");
    hub.wait_until_ready();
}

#[test]
fn replica_of_a_cluster_takes_over_without_loss_or_duplicates() {
    let mut cluster = RedisCluster::start();
    cluster.add_replica();
    let [primary, replica] = [&cluster.nodes[0], &cluster.nodes[3]];
    let (hub, mut reader) = hub_and_stream(&primary.url(), &[]);
    let first = publish_during(&hub, &mut reader, 0, || {
        replica.command(&["CLUSTER", "FAILOVER"]);
        eventually("the replica is the primary", || replica.info("role") == "master");
        wait_until_demoted(primary);
    });
    // The node in the hub's URL is the next one to fail, once it has the log again.
    eventually("the node has the log again", || {
        // The other primaries vote for no second failover within two of their timeouts.
        primary.command(&["CLUSTER", "FAILOVER"]);
        primary.info("role") == "master" && replica.info("role") == "slave"
    });
    wait_for_replica(primary, replica);
    let second = publish_during(&hub, &mut reader, first, || ());
    wait_for_replica(primary, replica);
    primary.kill();
    publish_and_read(&hub, &mut reader, second..second + 10);
    hub.wait_until_ready();
}

#[test]
fn database_of_a_cluster_is_refused_with_the_reason() {
    let cluster = RedisCluster::start();
    let hub = TestHub::with_redis_at(&format!("{}3", cluster.nodes[0].url()), &[]);
    hub.wait_until_unready("a cluster has only database 0");
}

#[test]
fn primary_of_several_addresses_is_used_also_after_a_promotion() {
    let primary = RedisServer::start();
    let replica = RedisServer::start_replica_of(&primary);
    let gone = free_port().to_string();
    let url = format!("redis://127.0.0.1:{gone},{},{}", replica.address(), primary.address());
    let (hub, mut reader) = hub_and_stream(&url, &[]);
    let first = publish_during(&hub, &mut reader, 0, || ());
    wait_for_replica(&primary, &replica);
    replica.promote();
    primary.kill();
    let second = publish_during(&hub, &mut reader, first, || ());
    // The hub leaves a demoted server, although it could still be read.
    primary.restart_empty();
    primary.replicate(&replica);
    wait_for_replica(&replica, &primary);
    primary.promote();
    replica.replicate(&primary);
    publish_during(&hub, &mut reader, second, || ());
    eventually("the hub is subscribed at the new primary", || {
        primary.command(&["PUBSUB", "NUMSUB", "{tidings}:live"]).list()[1].integer() == 1
    });
    hub.wait_until_ready();
}

/// A Sentinel of one service, `main`.
struct SentinelProcess {
    _process: ChildProcess,
    port: String,
    _directory: TempDirectory,
}

impl SentinelProcess {
    fn start(primary: &RedisServer, further: &str) -> Self {
        let (directory, port) = (TempDirectory::create(), free_port().to_string());
        let settings = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {} 1\nsentinel down-after-milliseconds main 500\n\
             sentinel failover-timeout main 3000\n{further}\n",
            primary.port()
        );
        directory.write("sentinel.conf", &settings);
        let mut command = tidings_testkit::redis::sentinel();
        command.arg(directory.path().join("sentinel.conf")).args(["--sentinel", "--dir"]);
        let process = ChildProcess::spawn(command.arg(directory.path()).stdout(Stdio::null()));
        Self { _process: process, port, _directory: directory }
    }

    fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn command(&self, words: &[&str]) -> String {
        let mut client = Command::new("redis-cli");
        client.args(["-p", &self.port, "--no-auth-warning", "-a", "sesame"]).args(words);
        String::from_utf8_lossy(&client.output().unwrap().stdout).into_owned()
    }

    /// Waits until the Sentinel knows the replica: before that it cannot promote it.
    #[track_caller]
    fn wait_until_known(&self, replica: &RedisServer) {
        let port = replica.port().to_string();
        eventually("the sentinel knows the replica", || {
            let replicas = self.command(&["SENTINEL", "replicas", "main"]);
            replicas.contains(&port) && replicas.contains("master-link-status\nok")
        });
    }

    #[track_caller]
    fn wait_until_primary(&self, primary: &RedisServer) {
        let port = primary.port().to_string();
        eventually("the Sentinel names the new primary", || {
            self.command(&["SENTINEL", "get-master-addr-by-name", "main"]).contains(&port)
        });
    }
}

#[test]
fn sentinel_failover_loses_and_duplicates_nothing() {
    let primary = RedisServer::start();
    let replica = RedisServer::start_replica_of(&primary);
    let sentinel = SentinelProcess::start(&primary, "requirepass sesame");
    sentinel.wait_until_known(&replica);
    let url = format!(
        "redis+sentinel://127.0.0.1:{},{}/main?sentinel_password=sesame",
        free_port(),
        sentinel.authority()
    );
    let (mut hub, mut reader) = hub_and_stream(&url, &[]);
    let first = publish_during(&hub, &mut reader, 0, || ());
    wait_for_replica(&primary, &replica);
    assert!(sentinel.command(&["SENTINEL", "failover", "main"]).contains("OK"));
    sentinel.wait_until_primary(&replica);
    wait_until_demoted(&primary);
    let second = publish_during(&hub, &mut reader, first, || ());
    sentinel.wait_until_known(&primary);
    wait_for_replica(&replica, &primary);
    replica.kill();
    publish_and_read(&hub, &mut reader, second..second + 10);
    hub.wait_until_ready();
    let log = hub.read_log_through("redis does not answer");
    assert!(log.contains("sentinel_password=***") && !log.contains("sesame"), "{log}");
}

#[test]
fn further_sentinels_are_discovered_and_asked_with_their_user() {
    let primary = RedisServer::start();
    let replica = RedisServer::start_replica_of(&primary);
    // A Sentinel also needs the password of the other Sentinels.
    let users = "requirepass sesame\nsentinel sentinel-pass sesame\n\
                 user hub on >open -@all +auth +sentinel|get-master-addr-by-name +sentinel|sentinels";
    let first = SentinelProcess::start(&primary, users);
    let second = SentinelProcess::start(&primary, users);
    for (one, other) in [(&first, &second), (&second, &first)] {
        one.wait_until_known(&replica);
        eventually("the Sentinels know each other", || {
            one.command(&["SENTINEL", "sentinels", "main"]).contains(&other.port)
        });
    }
    let url =
        format!("redis+sentinel://{}/main?sentinel_username=hub&sentinel_password=open", first.authority());
    let (hub, mut reader) = hub_and_stream(&url, &[]);
    publish_one(&hub, 0);
    wait_for_replica(&primary, &replica);
    // The only Sentinel in the URL is gone; the hub has discovered the other.
    drop(first);
    assert!(second.command(&["SENTINEL", "failover", "main"]).contains("OK"));
    second.wait_until_primary(&replica);
    wait_until_demoted(&primary);
    primary.kill();
    assert_eq!(reader.data(), "0");
    publish_and_read(&hub, &mut reader, 1..10);
    hub.wait_until_ready();
}

#[test]
fn unknown_service_of_a_sentinel_is_reported() {
    let primary = RedisServer::start();
    let sentinel = SentinelProcess::start(&primary, "");
    sentinel.wait_until_primary(&primary);
    let url = format!("redis+sentinel://{}/other", sentinel.authority());
    let hub = TestHub::with_redis_at(&url, &[]);
    hub.wait_until_unready("knows no primary");
}

#[test]
fn redis_with_a_private_authority_is_trusted_by_its_file() {
    let ca = tls_file("ca.pem");
    let (_redis, url) = start_with_tls(&ca, "no");
    let (hub, mut reader) = hub_and_stream(&url, &[("TIDINGS_REDIS_CA_FILE", &ca)]);
    hub.assert_delivers("a", "over TLS", &mut reader);
    TestHub::with_redis_at(&url, &[]).wait_until_unready("certificate");
}

#[test]
fn redis_that_requires_a_client_certificate_gets_it() {
    let (_redis, url) = start_with_tls(&tls_file("clients-ca.pem"), "yes");
    let directory = TempDirectory::create();
    let [ca, shown, of_shown, key] =
        ["ca.pem", "client.cert.pem", "client.key.pem", "first.key.pem"].map(tls_file);
    let trust = ("TIDINGS_REDIS_CA_FILE", ca.as_str());
    let shown = [trust, ("TIDINGS_REDIS_CERT_FILE", &shown), ("TIDINGS_REDIS_KEY_FILE", &of_shown)];
    let (hub, mut reader) = hub_and_stream(&url, &shown);
    hub.assert_delivers("a", "as a client that is known", &mut reader);
    TestHub::with_redis_at(&url, &[trust]).wait_until_unready("ertificate");
    for (setting, other) in
        [("TIDINGS_REDIS_CERT_FILE", "redis.key_file"), ("TIDINGS_REDIS_KEY_FILE", "redis.cert_file")]
    {
        let variables = [("REDIS_URL", url.as_str()), (setting, of_shown.as_str())];
        directory.run(&["check"], &variables).assert_refused(&[&format!("without {other}")]);
    }
    // The key belongs to another certificate.
    let variables = [("REDIS_URL", url.as_str()), shown[1], ("TIDINGS_REDIS_KEY_FILE", &key)];
    let outcome = directory.run(&["serve", "--listen", "127.0.0.1:0", "--memory"], &variables);
    outcome.assert(1, &["redis.key_file", "first.key.pem"]);
}

#[test]
fn invalid_authority_file_ends_the_start_with_its_name() {
    let directory = TempDirectory::create();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--memory"];
    directory.write("empty.pem", "");
    for file in ["missing.pem", "empty.pem"] {
        let variables = [("REDIS_URL", "rediss://localhost:1"), ("TIDINGS_REDIS_CA_FILE", file)];
        directory.run(&serve, &variables).assert(1, &["redis.ca_file", file]);
    }
    let variables = [("REDIS_URL", "redis://localhost:1"), ("TIDINGS_REDIS_CA_FILE", "some.pem")];
    directory.run(&["check"], &variables).assert_refused(&["redis.url asks for no TLS"]);
}
