//! The Redis, or Valkey, that tests start.

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::{env, fmt};

/// Environment variable that names the server's program. Default: `redis-server` on the search path.
pub const PROGRAM_VARIABLE: &str = "TIDINGS_TEST_REDIS";

/// The product and version of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedisVersion {
    /// Whether the product is Valkey, and not Redis.
    pub is_valkey: bool,
    pub major: u32,
    pub minor: u32,
}

impl RedisVersion {
    /// Reads what `redis-server --version` prints, such as `Redis server v=6.2.5 sha=00000000:0 …`.
    pub fn parse(text: &str) -> Option<Self> {
        let numbers = text.split_whitespace().find_map(|word| word.strip_prefix("v="))?;
        let mut numbers = numbers.split('.').map(|number| number.parse().ok());
        let (major, minor) = (numbers.next()??, numbers.next()??);
        Some(Self { is_valkey: text.starts_with("Valkey"), major, minor })
    }

    /// Whether the port of a cluster's bus can be chosen: since Redis 7.0.
    pub fn has_cluster_port(self) -> bool {
        self.major >= 7
    }

    /// Whether `DEBUG` is refused unless an argument allows it: since Redis 7.0.
    fn forbids_debug(self) -> bool {
        self.major >= 7
    }
}

impl fmt::Display for RedisVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let product = if self.is_valkey { "Valkey" } else { "Redis" };
        write!(f, "{product} {}.{}", self.major, self.minor)
    }
}

/// Returns a command that starts a server on which tests may use `DEBUG`; the caller adds further arguments.
pub fn server() -> Command {
    let mut command = sentinel();
    if version().forbids_debug() {
        command.args(["--enable-debug-command", "local"]);
    }
    command
}

/// Returns a command that starts the same program without any argument; a Sentinel's first one is its file.
pub fn sentinel() -> Command {
    Command::new(program())
}

/// Returns the version of the server that tests start.
pub fn version() -> RedisVersion {
    static VERSION: OnceLock<RedisVersion> = OnceLock::new();
    *VERSION.get_or_init(|| {
        let program = program();
        let output = Command::new(&program).arg("--version").stdin(Stdio::null()).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        match text.as_deref().map(RedisVersion::parse) {
            Ok(Some(version)) => version,
            _ => panic!(
                "{} --version: {text:?}; install Debian's redis-server, or name a program in {PROGRAM_VARIABLE}",
                program.display()
            ),
        }
    })
}

fn program() -> OsString {
    env::var_os(PROGRAM_VARIABLE).filter(|name| !name.is_empty()).unwrap_or_else(|| "redis-server".into())
}

#[cfg(test)]
mod tests;
