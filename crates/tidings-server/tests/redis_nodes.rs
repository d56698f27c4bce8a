//! Nodes over one Redis, and the streams of their clients.

use rustix::process::Signal;

use crate::prelude::*;

/// A deadline for commands of Redis that a test can wait for.
pub(crate) const SHORT_DEADLINE: (&str, &str) = ("TIDINGS_REDIS_DEADLINE", "1s");

/// Nodes with the same settings over one Redis.
pub(crate) struct RedisNodes<const N: usize> {
    pub(crate) redis: RedisServer,
    pub(crate) hubs: [TestHub; N],
    settings: Vec<(&'static str, &'static str)>,
}

pub(crate) type TwoNodes = RedisNodes<2>;

impl<const N: usize> RedisNodes<N> {
    /// Starts ready nodes over a Redis that keeps nothing on disk.
    #[track_caller]
    pub(crate) fn start(settings: &[(&'static str, &'static str)]) -> Self {
        Self::over(RedisServer::start(), settings)
    }

    /// Starts ready nodes over this Redis.
    #[track_caller]
    pub(crate) fn over(redis: RedisServer, settings: &[(&'static str, &'static str)]) -> Self {
        let hubs = [(); N].map(|()| TestHub::with_redis(&redis, settings));
        let nodes = Self { redis, hubs, settings: settings.to_vec() };
        nodes.wait_until_ready();
        nodes
    }

    #[track_caller]
    pub(crate) fn wait_until_ready(&self) {
        self.hubs.iter().for_each(|hub| hub.wait_until_ready());
    }

    /// Starts a further node.
    #[track_caller]
    pub(crate) fn start_node(&self) -> TestHub {
        TestHub::with_redis(&self.redis, &self.settings)
    }

    /// Kills a node. [`RedisNodes::start_again`] replaces it.
    pub(crate) fn kill(&mut self, number: usize) {
        ChildProcess::kill(&mut self.hubs[number]);
    }

    /// Sends SIGTERM to a node, and waits until it exits with code 0. [`RedisNodes::start_again`] replaces it.
    #[track_caller]
    pub(crate) fn terminate(&mut self, number: usize) {
        self.hubs[number].signal(Signal::TERM);
        assert_eq!(self.hubs[number].wait().code(), Some(0));
    }

    /// Replaces a node that has exited, and waits until all are ready.
    #[track_caller]
    pub(crate) fn start_again(&mut self, number: usize) {
        self.hubs[number] = self.start_node();
        self.wait_until_ready();
    }

    /// Publishes as another program does; returns the number of Redis subscribers that received the message.
    #[track_caller]
    pub(crate) fn message(&self, channel: &str, text: &str) -> i64 {
        self.redis.command(&["PUBLISH", channel, text]).integer()
    }

    /// Opens a stream at each node, and reads through its position.
    #[track_caller]
    pub(crate) fn open_streams(&self, path: &str) -> [SseReader; N] {
        self.hubs.each_ref().map(|hub| hub.open_stream(path))
    }

    /// Returns a metric of each node.
    #[track_caller]
    pub(crate) fn metrics(&self, name: &str) -> [f64; N] {
        self.hubs.each_ref().map(|hub| hub.metric(name))
    }

    /// Waits until each node has this number of channels, besides the hub's own, and patterns in Redis.
    #[track_caller]
    pub(crate) fn wait_for_subscriptions(&self, mut expected: [(i64, i64); N]) {
        expected.sort_unstable();
        let subscriptions = || {
            let count = |line: &str, field: &str| -> i64 {
                line.split(' ').find_map(|word| word.strip_prefix(field)).unwrap().parse().unwrap()
            };
            let clients = self.redis.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).text();
            let mut counts: Vec<_> =
                clients.lines().map(|line| (count(line, "sub=") - 2, count(line, "psub="))).collect();
            counts.sort_unstable();
            counts
        };
        eventually(&format!("the subscriptions of the nodes are {expected:?}"), || {
            subscriptions() == expected
        });
    }
}

/// Asserts that the next events of each stream have this data, and that none is an event of the hub.
#[track_caller]
pub(crate) fn assert_each_reads<T: AsRef<str>>(readers: &mut [SseReader], expected: &[T]) {
    let expected: Vec<&str> = expected.iter().map(AsRef::as_ref).collect();
    for reader in readers {
        assert_eq!(reader.data_of_next(expected.len()), expected);
    }
}

/// Asserts that the hub reports a gap to each stream next.
#[track_caller]
pub(crate) fn assert_each_gets_a_gap(readers: &mut [SseReader]) {
    readers.iter_mut().for_each(|reader| drop(reader.control_event("tidings.gap")));
}

/// Waits until a replica has the data of its primary.
#[track_caller]
pub(crate) fn wait_for_replica(primary: &RedisServer, replica: &RedisServer) {
    eventually("the replica has the data", || {
        replica.info("master_link_status") == "up"
            && replica.info("master_repl_offset") == primary.info("master_repl_offset")
    });
}
