//! A real Redis process of the checker's own, and the few words that are said to it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// How long it may take to start, to answer, and to follow another.
const DEADLINE: Duration = Duration::from_secs(20);
/// How often it is asked whether it is so far.
const PAUSE: Duration = Duration::from_millis(10);

/// What Redis answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Nothing,
    Integer(i64),
    Text(String),
    Error(String),
    List(Vec<Reply>),
}

impl Reply {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            _ => "",
        }
    }

    pub(super) fn list(&self) -> &[Self] {
        match self {
            Self::List(replies) => replies,
            _ => &[],
        }
    }
}

/// A Redis on a port of its own, which syncs every command to the disk.
pub(super) struct Redis {
    address: SocketAddr,
    directory: PathBuf,
    child: Option<Child>,
}

impl Redis {
    /// Starts one on a free port, with nothing in it.
    ///
    /// # Errors
    /// Why it did not start.
    pub(super) async fn start(directory: &Path) -> Result<Self, String> {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let address = free.map_err(|error| format!("no port is free: {error}"))?;
        let mut redis = Self { address, directory: directory.into(), child: None };
        redis.restart_empty().await?;
        Ok(redis)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Kills it with SIGKILL.
    pub(super) async fn kill(&mut self) -> Result<(), String> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.kill().await.map_err(|error| format!("redis cannot be killed: {error}"))
    }

    /// Starts it again on its port, with its data.
    pub(super) async fn restart(&mut self) -> Result<(), String> {
        self.kill().await?;
        let child = self.spawn().map_err(|error| format!("redis-server cannot be started: {error}"))?;
        self.child = Some(child);
        self.until("answers", |info| field(info, "loading") == Some("0")).await
    }

    /// Starts it again on its port, without its data.
    pub(super) async fn restart_empty(&mut self) -> Result<(), String> {
        self.kill().await?;
        let describe = |error: io::Error| format!("{}: {error}", self.directory.display());
        if self.directory.exists() {
            std::fs::remove_dir_all(&self.directory).map_err(describe)?;
        }
        std::fs::create_dir_all(&self.directory).map_err(describe)?;
        self.restart().await
    }

    /// Stops it in the middle of whatever it does, or lets it go on.
    pub(super) fn signal(&self, signal: Signal) -> Result<(), String> {
        let id = self.child.as_ref().and_then(Child::id).and_then(|id| Pid::from_raw(id.try_into().ok()?));
        let id = id.ok_or("redis ended by itself")?;
        kill_process(id, signal).map_err(|error| format!("redis cannot be signalled: {error}"))
    }

    /// Says something, and waits for the answer.
    ///
    /// # Errors
    /// That there was none, or that it was an error.
    pub(super) async fn say(&self, words: &[&str]) -> Result<Reply, String> {
        let said = words.join(" ");
        match timeout(DEADLINE, say(self.address, words)).await {
            Ok(Ok(Reply::Error(error))) => Err(format!("redis answered {said} with {error}")),
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(format!("redis did not answer {said}: {error}")),
            Err(_) => Err(format!("redis did not answer {said} within {} s", DEADLINE.as_secs())),
        }
    }

    /// Says something that takes its time, and does not wait for the answer.
    pub(super) async fn say_and_go(&self, words: &[&str]) -> Result<(), String> {
        let said = async {
            let mut socket = TcpStream::connect(self.address).await?;
            socket.write_all(&encode(words)).await
        };
        said.await.map_err(|error| format!("redis did not take {}: {error}", words.join(" ")))
    }

    /// Makes it a replica of another, and waits until it holds what that one holds.
    pub(super) async fn follow(&self, primary: &Self) -> Result<(), String> {
        self.begin_to_follow(primary).await?;
        self.is_in_step().await
    }

    /// Makes it a replica of another.
    pub(super) async fn begin_to_follow(&self, primary: &Self) -> Result<(), String> {
        let (host, port) = (primary.address.ip().to_string(), primary.address.port().to_string());
        self.say(&["REPLICAOF", &host, &port]).await.map(drop)
    }

    /// Waits until it has read all that its primary had.
    pub(super) async fn is_in_step(&self) -> Result<(), String> {
        self.until("is in step with its primary", |info| field(info, "master_link_status") == Some("up"))
            .await
    }

    /// Makes it a primary.
    pub(super) async fn promote(&self) -> Result<(), String> {
        self.say(&["REPLICAOF", "NO", "ONE"]).await.map(drop)
    }

    /// How far its replication has come.
    pub(super) async fn replicated(&self) -> Result<String, String> {
        let info = self.say(&["INFO", "replication"]).await?;
        Ok(field(info.text(), "master_repl_offset").unwrap_or_default().to_owned())
    }

    /// Waits until what it says of itself is so.
    async fn until(&self, what: &str, is_so: impl Fn(&str) -> bool) -> Result<(), String> {
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            let asked = timeout(DEADLINE, say(self.address, &["INFO", "everything"])).await;
            if let Ok(Ok(Reply::Text(info))) = asked
                && is_so(&info)
            {
                return Ok(());
            }
            sleep(PAUSE).await;
        }
        Err(format!("after {} s it is not so that redis at {} {what}", DEADLINE.as_secs(), self.address))
    }

    fn spawn(&self) -> io::Result<Child> {
        let mut command = Command::from(tidings_testkit::redis::server());
        command.args(["--port", &self.address.port().to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0"]);
        command.arg("--dir").arg(&self.directory);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn()
    }
}

/// A field of `INFO`.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

fn encode(words: &[&str]) -> Vec<u8> {
    let words = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    format!("*{}\r\n{}", words.len(), words.collect::<String>()).into_bytes()
}

async fn say(address: SocketAddr, words: &[&str]) -> io::Result<Reply> {
    let mut socket = BufReader::new(TcpStream::connect(address).await?);
    socket.get_mut().write_all(&encode(words)).await?;
    Box::pin(reply(&mut socket)).await
}

async fn reply(socket: &mut BufReader<TcpStream>) -> io::Result<Reply> {
    let mut line = String::new();
    socket.read_line(&mut line).await?;
    let (kind, rest) = line.trim_end().split_at(1.min(line.len()));
    let strange = || io::Error::other(format!("redis answered {line:?}"));
    let number = || rest.parse::<i64>().map_err(|_| strange());
    match kind {
        "+" => Ok(Reply::Text(rest.to_owned())),
        "-" => Ok(Reply::Error(rest.to_owned())),
        ":" => Ok(Reply::Integer(number()?)),
        "$" | "*" if rest == "-1" => Ok(Reply::Nothing),
        "$" => {
            let length = usize::try_from(number()?).map_err(|_| strange())?;
            let mut bytes = vec![0; length + 2];
            socket.read_exact(&mut bytes).await?;
            bytes.truncate(length);
            Ok(Reply::Text(String::from_utf8_lossy(&bytes).into_owned()))
        }
        "*" => {
            let mut replies = Vec::new();
            for _ in 0..number()? {
                replies.push(Box::pin(reply(socket)).await?);
            }
            Ok(Reply::List(replies))
        }
        _ => Err(strange()),
    }
}
