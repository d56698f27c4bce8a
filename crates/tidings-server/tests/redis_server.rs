//! A real Redis of a test's own, and a client that speaks to it in bytes.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::process::{Directory, eventually};

/// How long a test waits for an answer before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a Redis keeps, besides what it holds in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// Nothing: who restarts it finds it empty.
    Nothing,
    /// Every command, synced to the disk before it is answered.
    Everything,
}

/// A Redis that runs, and is killed if the test forgets it.
pub(crate) struct RedisServer {
    /// Where its data is, if it keeps any.
    directory: Directory,
    port: u16,
    keeps: Keeps,
    /// Further arguments, such as of whom it is a replica.
    arguments: Vec<String>,
    process: Mutex<Option<Child>>,
}

impl RedisServer {
    /// Starts one on a free port that keeps nothing.
    pub(crate) fn start() -> Self {
        Self::start_with(Keeps::Nothing, &[])
    }

    /// Starts one on a free port that finds its data again after a restart.
    pub(crate) fn start_durable() -> Self {
        Self::start_with(Keeps::Everything, &[])
    }

    /// Starts a replica of another, and waits until it has all that the other has.
    pub(crate) fn start_replica_of(primary: &Self) -> Self {
        let replica =
            Self::start_with(Keeps::Nothing, &["--replicaof", "127.0.0.1", &primary.port.to_string()]);
        replica.wait_for_primary();
        replica
    }

    /// Starts one on a free port with arguments of the test's own.
    pub(crate) fn start_with(keeps: Keeps, arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        // Between the choice of a port and its use somebody else may take it; then another will do.
        for _attempt in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let server = Self {
                directory: Directory::new(),
                port,
                keeps,
                arguments: arguments.clone(),
                process: Mutex::new(None),
            };
            if server.spawn() {
                return server;
            }
        }
        panic!("redis-server found no free port");
    }

    /// Host and port.
    pub(crate) fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}/", self.authority())
    }

    /// Sends a command over a connection of its own, and reads the answer.
    #[track_caller]
    pub(crate) fn command(&self, words: &[&str]) -> Reply {
        self.connect().command(words)
    }

    /// The port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Opens a connection.
    #[track_caller]
    pub(crate) fn connect(&self) -> RedisWire {
        RedisWire::connect(self.port).expect("no Redis listens")
    }

    /// Stops it in the middle of whatever it does: it answers nobody, and no connection ends.
    pub(crate) fn pause(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    /// Ends it without any warning.
    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.process.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it again on the same port, with its data if it keeps any. It is killed before, if it runs.
    #[track_caller]
    pub(crate) fn restart(&self) {
        self.kill();
        assert!(self.spawn(), "port {} is somebody else's now", self.port);
    }

    /// Starts it again on the same port with nothing in it.
    #[track_caller]
    pub(crate) fn restart_empty(&self) {
        self.kill();
        for entry in std::fs::read_dir(self.directory.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
        }
        assert!(self.spawn(), "port {} is somebody else's now", self.port);
    }

    /// Cuts connections of a kind: `normal`, `pubsub`, `replica`; answers how many there were.
    pub(crate) fn client_kill(&self, kind: &str) -> i64 {
        self.command(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]).integer()
    }

    /// Makes it the primary that it was a replica of.
    pub(crate) fn promote(&self) {
        assert_eq!(self.command(&["REPLICAOF", "NO", "ONE"]), Reply::Text("OK".to_owned()));
    }

    /// Makes it a replica of another, and waits until it has all that the other has.
    pub(crate) fn follow(&self, primary: &Self) {
        let port = primary.port.to_string();
        assert_eq!(self.command(&["REPLICAOF", "127.0.0.1", &port]), Reply::Text("OK".to_owned()));
        self.wait_for_primary();
    }

    /// A field of `INFO`, such as `master_replid`.
    pub(crate) fn info(&self, field: &str) -> String {
        let mut answer = None;
        eventually("Redis says how it is", || {
            // A Sentinel cuts the clients of a server whose part changes, in the middle of an answer, too.
            answer = RedisWire::connect(self.port).and_then(|mut wire| wire.info());
            answer.is_some()
        });
        let info = answer.unwrap();
        let value = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("INFO has no {field}")).to_owned()
    }

    fn wait_for_primary(&self) {
        eventually("the replica is in step", || {
            self.info("master_link_status") == "up" && self.info("master_sync_in_progress") == "0"
        });
    }

    /// Starts the process and waits until it answers; no if it ended instead.
    fn spawn(&self) -> bool {
        let append = if self.keeps == Keeps::Everything { "yes" } else { "no" };
        let mut command = tidings_testkit::redis::server();
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--appendonly", append, "--appendfsync", "always", "--repl-diskless-sync-delay", "0"]);
        command.arg("--dir").arg(self.directory.path());
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut answers = false;
        let mut ended = false;
        eventually("Redis answers", || {
            ended = child.try_wait().unwrap().is_some();
            // A port that was somebody else's answers, too; so the process has to be there afterwards.
            answers = !ended && self.answers_as(child.id());
            answers || ended
        });
        if answers {
            *self.process.lock().unwrap() = Some(child);
        }
        answers
    }

    /// Whether this very process answers on the port, and has read its data.
    fn answers_as(&self, process: u32) -> bool {
        let Some(mut wire) = RedisWire::connect(self.port) else { return false };
        match wire.info() {
            Some(info) => {
                let lines: Vec<&str> = info.lines().collect();
                lines.contains(&format!("process_id:{process}").as_str()) && lines.contains(&"loading:0")
            }
            None => false,
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let process = self.process.lock().unwrap();
        let child = process.as_ref().expect("it runs");
        rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // A stopped process is killed, too.
        if let Some(mut child) =
            self.process.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).take()
        {
            let _ended = child.kill();
            let _status = child.wait();
        }
    }
}

/// An address that leads to one Redis now and to another later, as that of a managed Redis does.
pub(crate) struct RedisGate {
    port: u16,
    inside: Arc<Inside>,
}

/// What the gate's threads share.
struct Inside {
    state: Mutex<GateState>,
    /// Rings when bytes may pass again.
    passes: Condvar,
}

struct GateState {
    /// The port behind it.
    port: u16,
    /// Both sockets of every connection through it.
    sockets: Vec<TcpStream>,
    is_held: bool,
    /// Connections so far; of those below `dead`, bytes go nowhere.
    connections: u64,
    dead: u64,
}

impl Inside {
    fn state(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until bytes may pass; answers whether those of this connection do.
    fn lets_pass(&self, connection: u64) -> bool {
        let held = |state: &mut GateState| state.is_held && connection >= state.dead;
        let state = self.passes.wait_while(self.state(), held);
        connection >= state.unwrap_or_else(PoisonError::into_inner).dead
    }
}

impl RedisGate {
    /// Opens one on a free port.
    pub(crate) fn to(redis: &RedisServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state =
            GateState { port: redis.port, sockets: Vec::new(), is_held: false, connections: 0, dead: 0 };
        let inside = Arc::new(Inside { state: Mutex::new(state), passes: Condvar::new() });
        let shared = Arc::downgrade(&inside);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Some(inside) = shared.upgrade() else { return };
                let mut state = inside.state();
                // Where nobody listens behind it, a connection ends at once.
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(("127.0.0.1", state.port))) else {
                    continue;
                };
                state.sockets.extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                let number = state.connections;
                state.connections += 1;
                pass_on(client.try_clone().unwrap(), server.try_clone().unwrap(), inside.clone(), number);
                pass_on(server, client, inside.clone(), number);
            }
        });
        Self { port, inside }
    }

    /// Holds all bytes back, those of new connections, too.
    pub(crate) fn hold(&self) {
        self.inside.state().is_held = true;
    }

    /// Lets what was held back go on.
    pub(crate) fn let_go(&self) {
        self.inside.state().is_held = false;
        self.inside.passes.notify_all();
    }

    /// Leaves the connections that there are open, and drops their bytes, as a network does that has forgotten them.
    pub(crate) fn forget(&self) {
        let mut state = self.inside.state();
        state.dead = state.connections;
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Cuts every connection, and leads new ones to another Redis.
    pub(crate) fn turn_to(&self, redis: &RedisServer) {
        let mut state = self.inside.state();
        state.port = redis.port;
        cut(&mut state.sockets);
    }

    /// Opens a connection through it.
    #[track_caller]
    pub(crate) fn connect(&self) -> RedisWire {
        RedisWire::connect(self.port).expect("the gate listens")
    }
}

impl Drop for RedisGate {
    fn drop(&mut self) {
        self.let_go();
        cut(&mut self.inside.state().sockets);
    }
}

fn cut(sockets: &mut Vec<TcpStream>) {
    for socket in sockets.drain(..) {
        // It may be closed already.
        let _closed = socket.shutdown(Shutdown::Both);
    }
}

/// Passes bytes on to their end, in a thread of its own.
fn pass_on(mut from: TcpStream, mut to: TcpStream, inside: Arc<Inside>, connection: u64) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(bytes @ 1..) = from.read(&mut buffer) {
            if inside.lets_pass(connection) && to.write_all(&buffer[..bytes]).is_err() {
                break;
            }
        }
        let _closed = to.shutdown(Shutdown::Both);
    });
}

/// A Python that `cargo xtask test` gave packages: `redis-5` and `redis-8` have the guides' `broadcaster` over the client
/// of Redis of that age, `yaml` reads YAML.
pub(crate) fn python(packages: &str) -> Command {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let program = target.join(format!("python/{packages}/bin/python"));
    assert!(program.is_file(), "{} is missing; `cargo xtask test` installs it", program.display());
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null());
    command
}

/// What Redis answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Nothing,
    Integer(i64),
    Text(String),
    Error(String),
    List(Vec<Reply>),
}

impl Reply {
    #[track_caller]
    pub(crate) fn integer(&self) -> i64 {
        match self {
            Self::Integer(number) => *number,
            other => panic!("{other:?} is no number"),
        }
    }

    #[track_caller]
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            other => panic!("{other:?} is no text"),
        }
    }

    #[track_caller]
    pub(crate) fn list(self) -> Vec<Self> {
        match self {
            Self::List(replies) => replies,
            other => panic!("{other:?} is no list"),
        }
    }
}

/// One connection to a Redis.
pub(crate) struct RedisWire {
    reader: BufReader<TcpStream>,
}

impl RedisWire {
    fn connect(port: u16) -> Option<Self> {
        let socket = TcpStream::connect(("127.0.0.1", port)).ok()?;
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Some(Self { reader: BufReader::new(socket) })
    }

    /// Waits until the other side has closed it.
    pub(crate) fn is_cut(&mut self) -> bool {
        self.reader
            .fill_buf()
            .map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, <[u8]>::is_empty)
    }

    /// Sends a command and reads its answer.
    #[track_caller]
    pub(crate) fn command(&mut self, words: &[&str]) -> Reply {
        self.send(words);
        self.reply()
    }

    /// Sends a command; its answer is read by [`RedisWire::reply`].
    #[track_caller]
    pub(crate) fn send(&mut self, words: &[&str]) {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
        }
        self.reader.get_mut().write_all(&bytes).unwrap();
    }

    /// All that `INFO` says; nothing where the connection ends before.
    fn info(&mut self) -> Option<String> {
        self.reader.get_mut().write_all(b"*2\r\n$4\r\nINFO\r\n$10\r\neverything\r\n").ok()?;
        let mut line = String::new();
        self.reader.read_line(&mut line).ok()?;
        let mut bytes = vec![0; line.trim_end().strip_prefix('$')?.parse().ok()?];
        self.reader.read_exact(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Reads an answer, or a message of a channel that was subscribed to.
    #[track_caller]
    pub(crate) fn reply(&mut self) -> Reply {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        let (kind, rest) = line.trim_end().split_at(1.min(line.len()));
        match kind {
            "+" => Reply::Text(rest.to_owned()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Integer(rest.parse().unwrap()),
            "$" if rest == "-1" => Reply::Nothing,
            "$" => {
                let mut bytes = vec![0; rest.parse::<usize>().unwrap() + 2];
                self.reader.read_exact(&mut bytes).unwrap();
                bytes.truncate(bytes.len() - 2);
                Reply::Text(String::from_utf8_lossy(&bytes).into_owned())
            }
            "*" if rest == "-1" => Reply::Nothing,
            "*" => Reply::List((0..rest.parse::<usize>().unwrap()).map(|_| self.reply()).collect()),
            _ => panic!("Redis closed the connection, or answered {line:?}"),
        }
    }
}

#[test]
fn redis_of_a_test_is_real() {
    let redis = RedisServer::start();
    assert_eq!(redis.command(&["SET", "a", "é\r\n"]), Reply::Text("OK".to_owned()));
    assert_eq!(redis.command(&["GET", "a"]).text(), "é\r\n");
    assert_eq!(redis.command(&["GET", "b"]), Reply::Nothing);
    assert!(matches!(redis.command(&["NO"]), Reply::Error(_)));
    let mut subscriber = redis.connect();
    let words = ["subscribe".to_owned(), "c".to_owned()].map(Reply::Text);
    assert_eq!(subscriber.command(&["SUBSCRIBE", "c"]).list()[..2], words);
    assert_eq!(redis.command(&["PUBLISH", "c", "1"]).integer(), 1);
    assert_eq!(subscriber.reply().list()[2], Reply::Text("1".to_owned()));
    assert_eq!(redis.client_kill("pubsub"), 1);
    assert!(subscriber.is_cut());
    let mut waiting = redis.connect();
    redis.pause();
    waiting.send(&["PING"]);
    redis.resume();
    assert_eq!(waiting.reply().text(), "PONG");
    redis.restart();
    assert_eq!(redis.command(&["GET", "a"]), Reply::Nothing);
}

#[test]
fn redis_of_a_test_keeps_what_it_was_told_to() {
    let redis = RedisServer::start_durable();
    redis.command(&["SET", "a", "1"]);
    let first = redis.info("run_id");
    redis.restart();
    assert_ne!(redis.info("run_id"), first);
    assert_eq!(redis.command(&["GET", "a"]).text(), "1");
    redis.restart_empty();
    assert_eq!(redis.command(&["GET", "a"]), Reply::Nothing);
}

#[test]
fn replica_of_a_test_follows_and_takes_over() {
    let primary = RedisServer::start();
    primary.command(&["SET", "a", "1"]);
    let replica = RedisServer::start_replica_of(&primary);
    assert_eq!(replica.command(&["GET", "a"]).text(), "1");
    let before = replica.info("master_replid");
    assert_eq!(before, primary.info("master_replid"));
    let gate = RedisGate::to(&primary);
    let mut client = gate.connect();
    assert_eq!(client.command(&["SET", "b", "1"]), Reply::Text("OK".to_owned()));
    // From here on the replica hears nothing: what the primary still answers is lost with it.
    replica.promote();
    assert_eq!(client.command(&["SET", "c", "1"]), Reply::Text("OK".to_owned()));
    primary.kill();
    gate.turn_to(&replica);
    let mut client = gate.connect();
    assert_eq!(client.command(&["GET", "c"]), Reply::Nothing);
    assert_ne!(replica.info("master_replid"), before);
    primary.restart();
    primary.follow(&replica);
    assert_eq!(primary.info("master_replid"), replica.info("master_replid"));
}

#[test]
fn gate_of_a_test_cuts_connections_and_leads_elsewhere() {
    let (first, second) = (RedisServer::start(), RedisServer::start());
    let gate = RedisGate::to(&first);
    let mut client = gate.connect();
    client.command(&["SET", "a", "1"]);
    gate.turn_to(&second);
    assert!(client.is_cut());
    assert_eq!(gate.connect().command(&["GET", "a"]), Reply::Nothing);
    gate.turn_to(&first);
    assert_eq!(gate.connect().command(&["GET", "a"]).text(), "1");
}

#[test]
fn python_of_a_test_publishes_with_the_library_of_the_guides() {
    let redis = RedisServer::start();
    let mut subscriber = redis.connect();
    subscriber.command(&["SUBSCRIBE", "project.1"]);
    for packages in ["redis-5", "redis-8"] {
        let program = format!(
            "import asyncio\nfrom broadcaster import Broadcast\nasync def main():\n    async with Broadcast({:?}) as b:\n        \
             await b.publish(channel='project.1', message='{packages}')\nasyncio.run(main())\n",
            redis.url()
        );
        let output = python(packages).args(["-c", &program]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(subscriber.reply().list()[2].text(), packages);
    }
}
