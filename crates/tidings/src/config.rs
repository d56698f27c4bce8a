//! Every setting of a hub, typed and with its default; how they are read from a file or the environment is the server's business.

mod auth;
pub mod bounds;
mod network;
mod redis;
mod secret;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

pub use self::auth::{Algorithm, AuthSettings, KeySettings, Right};
pub(crate) use self::network::network;
#[cfg(feature = "redis")]
pub(crate) use self::redis::is_of_key_events;
pub use self::redis::{RedisAddress, RedisHost, RedisSentinel, RedisSettings, RedisUrl};
pub use self::secret::Secret;

/// All settings of one hub.
///
/// [`Settings::default`] is what the manual promises; change fields from there and give the result to the hub's builder.
///
/// ```
/// let mut settings = tidings::config::Settings::default();
/// settings.stream.keep_alive = std::time::Duration::from_secs(10);
/// assert!(settings.faults().is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Addresses to listen on. A port of 0 takes a free one. Default: `127.0.0.1:8000`.
    pub listen: Vec<SocketAddr>,
    /// The directory that holds the log; `None` keeps everything in memory. Default: `tidings-data`.
    pub data_dir: Option<PathBuf>,
    /// Whether a hub without credentials may serve addresses other than loopback; the `Host` rule is off then. Default: `false`.
    pub insecure: bool,
    /// Whether `GET /api/v1/events/{channel}` sends one test event and ends. Default: `false`.
    pub test_mode: bool,
    /// What is kept, for how long, and how surely.
    pub log: LogSettings,
    /// How streams are kept alive and ended.
    pub stream: StreamSettings,
    /// What publishers may send.
    pub channels: ChannelSettings,
    /// Deadlines for reading requests.
    pub server: ServerSettings,
    /// Who may do what; `None` is an open hub. Default: none.
    pub auth: Option<AuthSettings>,
    /// Bounds on what clients may use.
    pub limits: LimitSettings,
    /// Which pages may call from the web.
    pub cors: CorsSettings,
    /// Who may read the metrics.
    pub metrics: MetricsSettings,
    /// The Redis that carries one log for several nodes; `None` is one node with a log of its own. Default: none.
    pub redis: Option<RedisSettings>,
    /// How the hub ends.
    pub shutdown: ShutdownSettings,
}

/// Settings of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// When an accepted publish is safe from what. Default: [`Durability::Interval`].
    pub durability: Durability,
    /// How long an event is kept. Default: 24 h.
    pub retention_age: Duration,
    /// How many bytes of stored events, with their index, are kept. Default: 1 GiB.
    pub retention_bytes: u64,
    /// How many events of each channel are kept. Default: 10,000.
    pub retention_events: u64,
    /// How many bytes of the newest events are held in memory for reading. Default: 64 MiB.
    pub cache_bytes: u64,
    /// How long a repeated idempotency key gets the first answer. Default: 10 min.
    pub idempotency_window: Duration,
    /// How many idempotency keys are remembered; past it a publish with a key is refused. Default: 1,000,000.
    pub idempotency_keys: u64,
}

/// Settings of streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSettings {
    /// Whether streams are served; stream routes answer 204 otherwise. Default: `true`.
    pub enabled: bool,
    /// How long a stream may be silent before a keep-alive is sent. Default: 15 s.
    pub keep_alive: Duration,
    /// How long a socket with bytes waiting may take none before it is closed. Default: 30 s.
    pub write_timeout: Duration,
    /// How long one stream may last before it is asked to reconnect; `None` is for ever. Default: none.
    pub max_age: Option<Duration>,
}

/// Settings of what is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelSettings {
    /// What the data of an event has to look like. Default: [`Envelope::Any`].
    pub envelope: Envelope,
    /// Values of `type` that a strict envelope may carry; empty allows all. Default: empty.
    pub types: Vec<String>,
}

/// Settings of the HTTP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// How long a client may take to send the head of a request, from its first byte, or from the connection's start.
    /// Default: 10 s.
    pub head_timeout: Duration,
    /// How long a kept-alive connection may ask nothing. HTTP/1.1 clients are told by `Keep-Alive: timeout=`, in whole
    /// seconds; the hub waits 2 s longer. Default: 75 s.
    pub idle_timeout: Duration,
    /// How long a client may take to send the body of a request. Default: 30 s.
    pub body_timeout: Duration,
    /// The certificate and key to speak TLS with; `None` speaks plain HTTP. Default: none.
    pub tls: Option<TlsSettings>,
}

/// The files that TLS needs. They are read again by [`Hub::reload`](crate::Hub::reload), and within 30 s when they change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// The certificate chain, PEM, the server's own certificate first.
    pub cert_file: PathBuf,
    /// The private key, PEM.
    pub key_file: PathBuf,
}

/// Bounds on what clients may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitSettings {
    /// How many streams may be open at once; further ones get 503. Default: 15,000.
    pub connections: u64,
    /// How many streams one user may have open; further ones get 429. Default: 100.
    pub connections_per_user: u64,
    /// How many streams one address (IPv6: one /64) may have open; `None` does not count. Default: none.
    pub connections_per_address: Option<u64>,
    /// Proxies, as CIDRs, whose `X-ForwardedConnection-For` is believed. Default: empty.
    pub trusted_proxies: Vec<String>,
    /// How many events per second one API key or user may publish; `None` does not count. Default: none.
    pub publishes_per_second: Option<u64>,
    /// How many streams one user, or without a user one address, may open each second; `None` does not count. Default: none.
    pub streams_per_second: Option<u64>,
    /// How many channels and patterns one stream may carry. Default: 256.
    pub channels_per_connection: u64,
    /// How many bytes the data of one event may have. Default: 256 KiB.
    pub event_bytes: u64,
    /// How many bytes the body of one request may have; at least `event_bytes`. Default: 8 MiB.
    pub body_bytes: u64,
}

/// Settings of cross-origin requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CorsSettings {
    /// Origins whose pages may call, each exactly as a browser sends it: `https://app.example.com`. Default: empty.
    pub origins: Vec<String>,
    /// Names of request headers that pages may send besides those that the hub knows. Default: empty.
    pub headers: Vec<String>,
}

/// Settings of the metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetricsSettings {
    /// Whether `/metrics` is served without credentials where there are credentials. Default: `false`.
    pub public: bool,
}

/// Settings of the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShutdownSettings {
    /// Over how long the ends of open streams are spread. Default: 5 s.
    pub window: Duration,
}

/// When an accepted publish is safe, and from what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Durability {
    /// Events live in memory only; every restart loses all of them and says so to those who resume.
    Memory,
    /// Written before the answer, synced to the disk every second: safe from a crash of the process.
    Interval,
    /// Synced to the disk before the answer: safe from a crash of the machine.
    Fsync,
}

/// What the data of an event has to look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Envelope {
    /// Any text.
    Any,
    /// A JSON object of exactly `type` (text) and `object` (an object or text).
    Strict,
}

/// A setting that a hub cannot run with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingError {
    /// The setting's name, for example `limits.body_bytes`.
    pub setting: &'static str,
    /// What is wrong with it, with its value and the bound: `is 10 bytes; at least 64KiB`.
    pub problem: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8000))],
            data_dir: Some(PathBuf::from("tidings-data")),
            insecure: false,
            test_mode: false,
            log: LogSettings::default(),
            stream: StreamSettings::default(),
            channels: ChannelSettings::default(),
            server: ServerSettings::default(),
            auth: None,
            limits: LimitSettings::default(),
            cors: CorsSettings::default(),
            metrics: MetricsSettings::default(),
            redis: None,
            shutdown: ShutdownSettings::default(),
        }
    }
}

impl Settings {
    /// Every fault of these settings: values out of their [`bounds`], and values that contradict each other. None is good.
    pub fn validate(&self) -> Vec<SettingError> {
        bounds::faults(self)
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            durability: Durability::Interval,
            retention_age: Duration::from_hours(24),
            retention_bytes: 1 << 30,
            retention_events: 10_000,
            cache_bytes: 64 << 20,
            idempotency_window: Duration::from_mins(10),
            idempotency_keys: 1_000_000,
        }
    }
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            keep_alive: Duration::from_secs(15),
            write_timeout: Duration::from_secs(30),
            max_age: None,
        }
    }
}

impl Default for ChannelSettings {
    fn default() -> Self {
        Self { envelope: Envelope::Any, types: Vec::new() }
    }
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(30),
            tls: None,
        }
    }
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            connections: 15_000,
            connections_per_user: 100,
            connections_per_address: None,
            trusted_proxies: Vec::new(),
            publishes_per_second: None,
            streams_per_second: None,
            channels_per_connection: 256,
            event_bytes: 256 << 10,
            body_bytes: 8 << 20,
        }
    }
}

impl Default for ShutdownSettings {
    fn default() -> Self {
        Self { window: Duration::from_secs(5) }
    }
}

impl Durability {
    /// The words that name the kinds of durability, weakest first.
    pub const WORDS: &'static [&'static str] = &["memory", "interval", "fsync"];

    /// The word for this durability in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Interval => "interval",
            Self::Fsync => "fsync",
        }
    }
}

impl Envelope {
    /// The words that name the kinds of envelope.
    pub const WORDS: &'static [&'static str] = &["any", "strict"];

    /// The word for this envelope in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Strict => "strict",
        }
    }
}

/// A word that names none of the choices of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownWord {
    word: String,
    choices: &'static [&'static str],
}

impl UnknownWord {
    fn new(word: &str, choices: &'static [&'static str]) -> Self {
        Self { word: word.to_owned(), choices }
    }
}

impl FromStr for Durability {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "memory" => Ok(Self::Memory),
            "interval" => Ok(Self::Interval),
            "fsync" => Ok(Self::Fsync),
            _ => Err(UnknownWord::new(word, Self::WORDS)),
        }
    }
}

impl FromStr for Envelope {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "any" => Ok(Self::Any),
            "strict" => Ok(Self::Strict),
            _ => Err(UnknownWord::new(word, Self::WORDS)),
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Display for Envelope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Display for UnknownWord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "is {:?}; one of {}", self.word, self.choices.join(", "))
    }
}

impl std::error::Error for UnknownWord {}

impl fmt::Display for SettingError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.setting, self.problem)
    }
}

impl std::error::Error for SettingError {}

#[cfg(test)]
mod tests;
