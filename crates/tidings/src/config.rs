//! Settings of a hub, typed and with defaults. `tidings-server` reads them from a file, flags and the environment.

mod auth;
pub mod bounds;
mod error;
mod network;
mod redis;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

pub use self::auth::{Algorithm, AuthSettings, KeySettings, Right};
pub use self::error::{SettingError, UnknownWord};
pub(crate) use self::network::network;
#[cfg(feature = "redis")]
pub(crate) use self::redis::is_of_key_events;
pub use self::redis::{RedisAddress, RedisHost, RedisSentinel, RedisSettings, RedisUrl};
#[doc(inline)]
pub use tidings_protocol::Secret;

/// All settings of one hub.
///
/// [`Settings::default`] has the defaults of the manual. Change fields, and pass the settings to the hub's builder.
///
/// ```
/// let mut settings = tidings::config::Settings::default();
/// settings.stream.keep_alive = std::time::Duration::from_secs(10);
/// assert!(settings.validate().is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Addresses to listen on. A port of 0 takes a free one. Default: `127.0.0.1:8000`.
    pub listen: Vec<SocketAddr>,
    /// Directory of the log; `None` keeps everything in memory. Default: `tidings-data`.
    pub data_dir: Option<PathBuf>,
    /// Whether a hub without credentials may serve addresses other than loopback; the `Host` rule is off then. Default: `false`.
    pub insecure: bool,
    /// Whether `GET /api/v1/events/{channel}` sends one test event and ends. Default: `false`.
    pub test_mode: bool,
    /// Retention and durability of events.
    pub log: LogSettings,
    /// Keep-alives and ends of streams.
    pub stream: StreamSettings,
    /// Rules for published events.
    pub channels: ChannelSettings,
    /// Deadlines for reading requests.
    pub server: ServerSettings,
    /// Authentication and permissions; `None` is an open hub. Default: none.
    pub auth: Option<AuthSettings>,
    /// Limits for clients.
    pub limits: LimitSettings,
    /// Origins whose pages may call the hub.
    pub cors: CorsSettings,
    /// Access to the metrics.
    pub metrics: MetricsSettings,
    /// The Redis that carries one log for several nodes; `None` is one node with a log of its own. Default: none.
    pub redis: Option<RedisSettings>,
    /// Shutdown of the hub.
    pub shutdown: ShutdownSettings,
}

/// Settings of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// Durability of accepted publishes. Default: [`Durability::Interval`].
    pub durability: Durability,
    /// Time for which an event is kept. Default: 24 h.
    pub retention_age: Duration,
    /// Bytes of stored events that are kept, with their index. Default: 1 GiB.
    pub retention_bytes: u64,
    /// Events of each channel that are kept. Default: 10,000.
    pub retention_events: u64,
    /// Bytes of the newest events that are held in memory for reads. Default: 64 MiB.
    pub cache_bytes: u64,
    /// Time for which a repeated idempotency key gets the first answer. Default: 10 min.
    pub idempotency_window: Duration,
    /// Idempotency keys that are remembered; above it a publish with a key is refused. Default: 1,000,000.
    pub idempotency_keys: u64,
}

/// Settings of streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSettings {
    /// Whether streams are served; stream routes answer 204 otherwise. Default: `true`.
    pub enabled: bool,
    /// Silence of a stream after which a keep-alive is sent. Default: 15 s.
    pub keep_alive: Duration,
    /// Time after which a socket that takes no pending bytes is closed. Default: 30 s.
    pub write_timeout: Duration,
    /// Age at which a stream ends and its client reconnects; `None` is no limit. Default: none.
    pub max_age: Option<Duration>,
}

/// Settings of published events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelSettings {
    /// Required form of an event's data. Default: [`Envelope::Any`].
    pub envelope: Envelope,
    /// Values of `type` that a strict envelope may carry; empty allows all. Default: empty.
    pub types: Vec<String>,
}

/// Settings of the HTTP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// Time in which a client must send the head of a request, from its first byte, or from the connection's start.
    /// Default: 10 s.
    pub head_timeout: Duration,
    /// Time for which a connection may be idle between requests. HTTP/1.1 clients get it as `Keep-Alive: timeout=`, in
    /// whole seconds; the hub waits 2 s longer. Default: 75 s.
    pub idle_timeout: Duration,
    /// Time in which a client must send the body of a request. Default: 30 s.
    pub body_timeout: Duration,
    /// Certificate and key for TLS; `None` serves plain HTTP. Default: none.
    pub tls: Option<TlsSettings>,
}

/// Files for TLS. [`Hub::reload`](crate::Hub::reload) reads them again, and the hub does within 30 s of a change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// The certificate chain, PEM, the server's own certificate first.
    pub cert_file: PathBuf,
    /// The private key, PEM.
    pub key_file: PathBuf,
}

/// Limits for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitSettings {
    /// Open streams; further ones get 503. Default: 15,000.
    pub connections: u64,
    /// Open streams of one user; further ones get 429. Default: 100.
    pub connections_per_user: u64,
    /// Open streams of one address (IPv6: one /64); `None` is no limit. Default: none.
    pub connections_per_address: Option<u64>,
    /// Proxies, as CIDRs, whose `X-Forwarded-For` is trusted. Default: empty.
    pub trusted_proxies: Vec<String>,
    /// Events per second that one API key or user may publish; `None` is no limit. Default: none.
    pub publishes_per_second: Option<u64>,
    /// Streams per second that one user, or one address without a user, may open; `None` is no limit. Default: none.
    pub streams_per_second: Option<u64>,
    /// Channels and patterns of one stream. Default: 256.
    pub channels_per_connection: u64,
    /// Bytes of one event's data. Default: 256 KiB.
    pub event_bytes: u64,
    /// Bytes of one request's body; at least `event_bytes`. Default: 8 MiB.
    pub body_bytes: u64,
}

/// Settings of cross-origin requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CorsSettings {
    /// Origins whose pages may call, each exactly as a browser sends it: `https://app.example.com`. Default: empty.
    pub origins: Vec<String>,
    /// Request headers that pages may send, besides those that the hub knows. Default: empty.
    pub headers: Vec<String>,
}

/// Settings of the metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetricsSettings {
    /// Whether a hub with `[auth]` serves `/metrics` without credentials. Default: `false`.
    pub public: bool,
}

/// Settings of the shutdown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShutdownSettings {
    /// Time over which the ends of open streams are spread. Default: 5 s.
    pub window: Duration,
}

/// Durability of an accepted publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Durability {
    /// In memory only: a restart loses all events, and reports a gap to clients that resume.
    Memory,
    /// Written before the answer, synced every second: survives a crash of the process.
    Interval,
    /// Synced before the answer: survives a crash of the machine.
    Fsync,
}

/// Required form of an event's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Envelope {
    /// Any text.
    Any,
    /// A JSON object of exactly `type` (text) and `object` (an object or text).
    Strict,
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
    /// Names of the kinds of durability, weakest first.
    pub const WORDS: &'static [&'static str] = &["memory", "interval", "fsync"];

    /// Returns the name in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Interval => "interval",
            Self::Fsync => "fsync",
        }
    }
}

impl Envelope {
    /// Names of the kinds of envelope.
    pub const WORDS: &'static [&'static str] = &["any", "strict"];

    /// Returns the name in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Strict => "strict",
        }
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

#[cfg(test)]
mod tests;
