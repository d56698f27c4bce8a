//! A redis-server for one test.

use std::{
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};

use super::super::{
    connection::RedisConnection,
    resp::{RedisCommand as ReadRequest, RedisReply, TEXT_BYTES_MAX},
    server::{RedisEndpoint, TlsFiles},
};

/// Its drop kills the server and removes its files.
pub(in crate::broker::redis) struct Process {
    child: Child,
    port: u16,
    dir: PathBuf,
    password: Option<String>,
}

impl Process {
    pub(in crate::broker::redis) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server; arguments may contain `{port}`.
    pub(in crate::broker::redis) fn start_with(arguments: &[&str]) -> Self {
        static STARTED: AtomicU64 = AtomicU64::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("tidings-redis-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        // Another program may take the port before the server does: then another port is tried.
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if let Some(child) = Self::started(port, &dir, arguments) {
                return Self { child, port, dir, password: None };
            }
        }
        panic!("redis-server does not start");
    }

    fn started(port: u16, dir: &std::path::Path, arguments: &[&str]) -> Option<Child> {
        let mut child = tidings_testkit::redis::server()
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--repl-diskless-sync-delay", "0", "--dir"])
            .arg(dir)
            .args(arguments.iter().map(|argument| argument.replace("{port}", &port.to_string())))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while lines.read_line(&mut line).unwrap() > 0 {
            if line.contains("Ready to accept connections") {
                // A full pipe would stop the server.
                thread::spawn(move || lines.read_to_end(&mut Vec::new()));
                return Some(child);
            }
            line.clear();
        }
        let _ = child.wait();
        None
    }

    pub(in crate::broker::redis) fn with_password(mut self, password: &str) -> Self {
        self.password = Some(password.into());
        self
    }

    pub(in crate::broker::redis) fn port(&self) -> u16 {
        self.port
    }

    pub(in crate::broker::redis) fn url(&self) -> String {
        match &self.password {
            Some(password) => format!("redis://:{password}@127.0.0.1:{}", self.port),
            None => format!("redis://127.0.0.1:{}", self.port),
        }
    }

    /// Sends a command on a new connection.
    pub(in crate::broker::redis) async fn ask(&self, words: &str) -> RedisReply {
        let mut words = words.split(' ');
        let first = ReadRequest::new(words.next().unwrap());
        let command = words.fold(first, |command, word| command.arg(word));
        let server = RedisEndpoint::parse(&self.url(), &TlsFiles::default()).unwrap();
        let address = &server.address;
        let login = (None, address.password.as_ref());
        let opening = RedisConnection::open(&server, &address.hosts[0], login, TEXT_BYTES_MAX);
        opening.await.unwrap().request(&[command]).await.unwrap().remove(0)
    }

    /// Sends a command that must succeed.
    pub(in crate::broker::redis) async fn tell(&self, words: &str) {
        let reply = self.ask(words).await;
        assert!(!matches!(reply, RedisReply::Error(_)), "{words}: {reply:?}");
    }

    /// Makes the server a replica of another, and waits until it is in sync.
    pub(in crate::broker::redis) async fn follow(&self, primary: &Self) {
        self.tell(&format!("REPLICAOF 127.0.0.1 {}", primary.port)).await;
        let is_up = |info: RedisReply| info.str().is_some_and(|text| text.contains("master_link_status:up"));
        while !is_up(self.ask("INFO replication").await) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    pub(in crate::broker::redis) fn stop(&self) {
        self.signal(Signal::STOP);
    }

    pub(in crate::broker::redis) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
