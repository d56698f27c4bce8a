//! A log that moves between servers: within a cluster, at a failover by Sentinels, behind several addresses.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tidings_testkit::{RedisServer, RespReply, SseReader, TempDirectory, eventually, free_port};

use crate::hub::{RunTidings, TestHub};

/// The log's key, which determines its slot.
const LOG: &str = "{tidings}:log";

/// Publishes numbers with idempotency keys until `ends` is set, each until it is stored; returns the next number.
fn publish(hub: &TestHub, from: usize, ends: &AtomicBool) -> usize {
    for number in from.. {
        if ends.load(Ordering::Relaxed) {
            return number;
        }
        publish_one(hub, number);
    }
    unreachable!("there are more numbers than time");
}

fn publish_one(hub: &TestHub, number: usize) {
    let key = format!("key-{number}");
    eventually("the number is stored", || {
        let headers = [("Idempotency-Key", key.as_str())];
        hub.request("POST", "/api/v1/events/a", &headers, number.to_string().as_bytes()).head.status == 200
    });
}

#[track_caller]
fn reads(reader: &mut SseReader, from: usize, to: usize) {
    for number in from..to {
        assert_eq!(reader.data(), number.to_string());
    }
}

/// Publishes and reads during `act`; returns the next number.
fn publish_during(hub: &TestHub, reader: &mut SseReader, from: usize, act: impl FnOnce()) -> usize {
    let ends = AtomicBool::new(false);
    let to = thread::scope(|scope| {
        let publisher = scope.spawn(|| publish(hub, from, &ends));
        act();
        ends.store(true, Ordering::Relaxed);
        publisher.join().unwrap()
    });
    for number in to..to + 5 {
        publish_one(hub, number);
    }
    reads(reader, from, to + 5);
    to + 5
}

/// Waits until a replica has the data of its primary.
#[track_caller]
fn wait_for_replica(primary: &RedisServer, replica: &RedisServer) {
    eventually("the replica has the data", || {
        replica.info("master_link_status") == "up"
            && replica.info("master_repl_offset") == primary.info("master_repl_offset")
    });
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
        cluster.wait_for_replica();
        let place = cluster.node_of_log();
        cluster.nodes.rotate_left(place);
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
    fn wait_for_replica(&self) {
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
        self.wait_for_replica();
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
        let ok = RespReply::Text("OK".into());
        assert_eq!(to.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ids[0]]), ok);
        assert_eq!(from.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ids[1]]), ok);
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
            assert_eq!(
                node.command(&["CLUSTER", "SETSLOT", slot, "NODE", &id]),
                RespReply::Text("OK".into())
            );
        }
    }
}

/// A node of a cluster does not answer for a missing key of a migrating slot.
#[test]
fn marked_slot_keeps_no_node_from_being_ready() {
    let cluster = RedisCluster::start();
    let start = || {
        let hub = TestHub::with_redis_at(&cluster.nodes[0].url(), &[]);
        hub.wait_until_ready();
        hub
    };
    // No event was published, and no table is shared.
    let early = start();
    let mut reader = early.subscribe("/api/v1/events/a");
    reader.position();
    let slot = cluster.begin_move(0, 2);
    // Each node compares its log at its start.
    let late = start();
    early.publish("a", "0");
    late.publish("a", "1");
    late.post("/api/v1/events/a?store=false", "live").assert_status(200);
    assert_eq!(reader.data_of_next(3), ["0", "1", "live"]);
    start();
    assert_eq!(early.get("/readyz").head.status, 200);
    cluster.migrate_rest(0, 2, &slot);
    cluster.end_move(0, 2, &slot);
    early.wait_until_ready();
    early.publish("a", "2");
    assert_eq!(reader.data(), "2");
}

#[test]
fn reads_continue_while_keys_are_at_two_nodes_and_publishes_are_not_stored() {
    let cluster = RedisCluster::start();
    // A publish waits longer than a node takes to compare its log.
    let settings = [("TIDINGS_REDIS_DEADLINE", "4s")];
    let hub = TestHub::with_redis_at(&cluster.nodes[0].url(), &settings);
    hub.wait_until_ready();
    let mut reader = hub.subscribe("/api/v1/events/a");
    let start = reader.position();
    hub.publish("a", "0");
    let slot = cluster.begin_move(0, 2);
    cluster.migrate(0, 2, &[LOG]);
    let refused = hub.post("/api/v1/events/a", "refused").assert_status(503).json();
    assert_eq!(refused["code"], "not_stored");
    hub.post("/api/v1/events/a?store=false", "live").assert_status(200);
    // Keys that a publish needs are at the other node now, and some that the check of the head needs are not.
    cluster.migrate(0, 2, &["{tidings}:meta", "{tidings}:epochs"]);
    hub.publish("a", "1");
    assert_eq!(reader.data_of_next(3), ["0", "live", "1"]);
    let history = hub.get("/api/v1/channels/a/events").assert_status(200).json();
    assert_eq!(history["events"].as_array().unwrap().len(), 2);
    assert_eq!(hub.metric("tidings_broker_disconnects_total"), 0.0);
    cluster.migrate_rest(0, 2, &slot);
    hub.publish("a", "2");
    cluster.end_move(0, 2, &slot);
    for number in 3..20 {
        publish_one(&hub, number);
    }
    reads(&mut reader, 2, 20);
    reads(&mut hub.resume("/api/v1/events/a", &start), 0, 20);
    hub.wait_until_ready();
}

#[test]
fn slot_of_the_log_moves_without_loss_or_duplicates() {
    let cluster = RedisCluster::start();
    // The node in the URL does not have the log.
    let hub = TestHub::with_redis_at(&cluster.nodes[1].url(), &[]);
    hub.wait_until_ready();
    let mut reader = hub.subscribe("/api/v1/events/a");
    let start = reader.position();
    let first = publish_during(&hub, &mut reader, 0, || cluster.move_slot(0, 2));
    let second = publish_during(&hub, &mut reader, first, || cluster.move_slot(2, 1));
    reads(&mut hub.resume("/api/v1/events/a", &start), 0, second);
    // Messages of other programs are received from any node.
    eventually("the message is received", || {
        cluster.nodes[0].command(&["PUBLISH", "a", "heard"]);
        let [at, _] = [1, 0].map(|node| &cluster.nodes[node]);
        at.command(&["PUBSUB", "NUMSUB", "a"]).list()[1].integer() == 1
    });
    assert_eq!(reader.data(), "heard");
    hub.wait_until_ready();
}

#[test]
fn replica_of_a_cluster_takes_over_without_loss_or_duplicates() {
    let mut cluster = RedisCluster::start();
    cluster.add_replica();
    let [primary, replica] = [&cluster.nodes[0], &cluster.nodes[3]];
    let hub = TestHub::with_redis_at(&primary.url(), &[]);
    hub.wait_until_ready();
    let mut reader = hub.subscribe("/api/v1/events/a");
    reader.position();
    let first = publish_during(&hub, &mut reader, 0, || {
        replica.command(&["CLUSTER", "FAILOVER"]);
        eventually("the replica is the primary", || replica.info("role") == "master");
        eventually("the old primary is its replica", || {
            primary.info("role") == "slave" && primary.info("master_link_status") == "up"
        });
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
    for number in second..second + 10 {
        publish_one(&hub, number);
    }
    reads(&mut reader, second, second + 10);
    hub.wait_until_ready();
}

#[test]
fn database_of_a_cluster_is_refused_with_the_reason() {
    let cluster = RedisCluster::start();
    let url = format!("{}3", cluster.nodes[0].url());
    let hub = TestHub::with_redis_at(&url, &[]);
    eventually("the readiness names the reason", || {
        hub.get("/readyz").json()["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("a cluster has only database 0"))
    });
}

#[test]
fn primary_of_several_addresses_is_used_also_after_a_promotion() {
    let primary = RedisServer::start();
    let replica = RedisServer::start_replica_of(&primary);
    let gone = free_port().to_string();
    let url = format!("redis://127.0.0.1:{gone},{},{}", replica.address(), primary.address());
    let hub = TestHub::with_redis_at(&url, &[]);
    hub.wait_until_ready();
    let mut reader = hub.subscribe("/api/v1/events/a");
    reader.position();
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

/// A SentinelProcess of one service, `main`. It is killed when it is dropped.
struct SentinelProcess {
    process: Child,
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
        let process = tidings_testkit::redis::sentinel()
            .arg(directory.path().join("sentinel.conf"))
            .args(["--sentinel", "--dir"])
            .arg(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, port, _directory: directory }
    }

    fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn asks(&self, words: &[&str]) -> String {
        let mut client = Command::new("redis-cli");
        client.args(["-p", &self.port, "--no-auth-warning", "-a", "sesame"]).args(words);
        String::from_utf8_lossy(&client.output().unwrap().stdout).into_owned()
    }

    /// Waits until the SentinelProcess knows the replica: before that it cannot promote it.
    #[track_caller]
    fn knows(&self, replica: &RedisServer) {
        let port = replica.port().to_string();
        eventually("the sentinel knows the replica", || {
            let replicas = self.asks(&["SENTINEL", "replicas", "main"]);
            replicas.contains(&port) && replicas.contains("master-link-status\nok")
        });
    }

    #[track_caller]
    fn names(&self, primary: &RedisServer) {
        let port = primary.port().to_string();
        eventually("the SentinelProcess names the new primary", || {
            self.asks(&["SENTINEL", "get-master-addr-by-name", "main"]).contains(&port)
        });
    }
}

impl Drop for SentinelProcess {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _status = self.process.wait();
    }
}

#[test]
fn sentinel_failover_loses_and_duplicates_nothing() {
    let primary = RedisServer::start();
    let replica = RedisServer::start_replica_of(&primary);
    let sentinel = SentinelProcess::start(&primary, "requirepass sesame");
    sentinel.knows(&replica);
    let url = format!(
        "redis+sentinel://127.0.0.1:{},{}/main?sentinel_password=sesame",
        free_port(),
        sentinel.authority()
    );
    let mut hub = TestHub::with_redis_at(&url, &[]);
    hub.wait_until_ready();
    let mut reader = hub.subscribe("/api/v1/events/a");
    reader.position();
    let first = publish_during(&hub, &mut reader, 0, || ());
    wait_for_replica(&primary, &replica);
    assert!(sentinel.asks(&["SENTINEL", "failover", "main"]).contains("OK"));
    sentinel.names(&replica);
    eventually("the old primary is its replica", || {
        primary.info("role") == "slave" && primary.info("master_link_status") == "up"
    });
    let second = publish_during(&hub, &mut reader, first, || ());
    sentinel.knows(&primary);
    wait_for_replica(&replica, &primary);
    replica.kill();
    for number in second..second + 10 {
        publish_one(&hub, number);
    }
    reads(&mut reader, second, second + 10);
    hub.wait_until_ready();
    let log = hub.read_log_through("redis does not answer");
    assert!(log.contains("sentinel_password=***") && !log.contains("sesame"), "{log}");
}

#[test]
fn further_sentinels_are_discovered_and_asked_with_their_user() {
    let primary = RedisServer::start();
    let replica = RedisServer::start_replica_of(&primary);
    // A SentinelProcess also needs the password of the other Sentinels.
    let users = "requirepass sesame\nsentinel sentinel-pass sesame\n\
                 user hub on >open -@all +auth +sentinel|get-master-addr-by-name +sentinel|sentinels";
    let first = SentinelProcess::start(&primary, users);
    let second = SentinelProcess::start(&primary, users);
    for (one, other) in [(&first, &second), (&second, &first)] {
        one.knows(&replica);
        eventually("the Sentinels know each other", || {
            one.asks(&["SENTINEL", "sentinels", "main"]).contains(&other.port)
        });
    }
    let url =
        format!("redis+sentinel://{}/main?sentinel_username=hub&sentinel_password=open", first.authority());
    let hub = TestHub::with_redis_at(&url, &[]);
    hub.wait_until_ready();
    let mut reader = hub.subscribe("/api/v1/events/a");
    reader.position();
    publish_one(&hub, 0);
    wait_for_replica(&primary, &replica);
    // The only SentinelProcess in the URL is gone; the hub has discovered the other.
    drop(first);
    assert!(second.asks(&["SENTINEL", "failover", "main"]).contains("OK"));
    second.names(&replica);
    eventually("the old primary is its replica", || {
        primary.info("role") == "slave" && primary.info("master_link_status") == "up"
    });
    primary.kill();
    for number in 1..10 {
        publish_one(&hub, number);
    }
    reads(&mut reader, 0, 10);
    hub.wait_until_ready();
}

#[test]
fn unknown_service_of_a_sentinel_is_reported() {
    let primary = RedisServer::start();
    let sentinel = SentinelProcess::start(&primary, "");
    sentinel.names(&primary);
    let url = format!("redis+sentinel://{}/other", sentinel.authority());
    let hub = TestHub::with_redis_at(&url, &[]);
    eventually("the readiness names the reason", || {
        hub.get("/readyz").json()["detail"].as_str().is_some_and(|detail| detail.contains("knows no primary"))
    });
}

#[test]
fn redis_with_a_private_authority_is_trusted_by_its_file() {
    let file = |name: &str| format!("{}/tests/tls/{name}", env!("CARGO_MANIFEST_DIR"));
    let (cert, key, ca) = (file("first.cert.pem"), file("first.key.pem"), file("ca.pem"));
    let port = free_port().to_string();
    let files = ["--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
    let listen = ["--tls-port", &port, "--tls-auth-clients", "no"];
    let _redis = RedisServer::options().arguments([&listen[..], &files].concat()).start();
    let url = format!("rediss://localhost:{port}");
    let hub = TestHub::with_redis_at(&url, &[("TIDINGS_REDIS_CA_FILE", &ca)]);
    hub.wait_until_ready();
    let mut reader = hub.subscribe("/api/v1/events/a");
    reader.position();
    hub.publish("a", "over TLS");
    assert_eq!(reader.data(), "over TLS");
    let stranger = TestHub::with_redis_at(&url, &[]);
    eventually("the readiness names the reason", || {
        stranger.get("/readyz").json()["detail"].as_str().is_some_and(|detail| detail.contains("certificate"))
    });
}

#[test]
fn redis_that_requires_a_client_certificate_gets_it() {
    let file = |name: &str| format!("{}/tests/tls/{name}", env!("CARGO_MANIFEST_DIR"));
    let (cert, key, clients) = (file("first.cert.pem"), file("first.key.pem"), file("clients-ca.pem"));
    let port = free_port().to_string();
    let files = ["--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &clients];
    let listen = ["--tls-port", &port, "--tls-auth-clients", "yes"];
    let _redis = RedisServer::options().arguments([&listen[..], &files].concat()).start();
    let (url, directory) = (format!("rediss://localhost:{port}"), TempDirectory::create());
    let (ca, shown, of_shown) = (file("ca.pem"), file("client.cert.pem"), file("client.key.pem"));
    let trust = ("TIDINGS_REDIS_CA_FILE", ca.as_str());
    let shown = [trust, ("TIDINGS_REDIS_CERT_FILE", &shown), ("TIDINGS_REDIS_KEY_FILE", &of_shown)];
    let hub = TestHub::with_redis_at(&url, &shown);
    hub.wait_until_ready();
    let mut reader = hub.subscribe("/api/v1/events/a");
    reader.position();
    hub.publish("a", "as a client that is known");
    assert_eq!(reader.data(), "as a client that is known");
    let stranger = TestHub::with_redis_at(&url, &[trust]);
    eventually("the readiness names the reason", || {
        let answer = stranger.get("/readyz");
        answer.head.status == 503 && answer.json()["detail"].as_str().unwrap().contains("ertificate")
    });
    for (setting, other) in
        [("TIDINGS_REDIS_CERT_FILE", "redis.key_file"), ("TIDINGS_REDIS_KEY_FILE", "redis.cert_file")]
    {
        let variables = [("REDIS_URL", url.as_str()), (setting, of_shown.as_str())];
        let said = format!("{:?}", directory.run(&["check"], &variables));
        assert!(said.contains(&format!("without {other}")), "{said}");
    }
    // The key belongs to another certificate.
    let variables = [("REDIS_URL", url.as_str()), shown[1], ("TIDINGS_REDIS_KEY_FILE", &key)];
    let said = format!("{:?}", directory.run(&["serve", "--listen", "127.0.0.1:0", "--memory"], &variables));
    assert!(said.contains("redis.key_file") && said.contains("first.key.pem"), "{said}");
}

#[test]
fn invalid_authority_file_ends_the_start_with_its_name() {
    let directory = TempDirectory::create();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--memory"];
    directory.write("empty.pem", "");
    for file in ["missing.pem", "empty.pem"] {
        let variables = [("REDIS_URL", "rediss://localhost:1"), ("TIDINGS_REDIS_CA_FILE", file)];
        let outcome = directory.run(&serve, &variables);
        assert_ne!(outcome.code, Some(0));
        let said = format!("{outcome:?}");
        assert!(said.contains("redis.ca_file") && said.contains(file), "{said}");
    }
    let variables = [("REDIS_URL", "redis://localhost:1"), ("TIDINGS_REDIS_CA_FILE", "some.pem")];
    let said = format!("{:?}", directory.run(&["check"], &variables));
    assert!(said.contains("redis.url asks for no TLS"), "{said}");
}
