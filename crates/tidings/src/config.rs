//! Settings of a hub, typed and with defaults. `tidings-server` reads them from a file, flags and the environment.

mod auth;
pub mod bounds;
mod declare;
mod error;
mod network;
#[cfg(feature = "redis")]
mod redis;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tidings_protocol::{words, words_from_str};

pub use self::auth::{Algorithm, AuthSettings, KeySettings, Right};
use self::declare::settings;
pub use self::error::SettingError;
pub(crate) use self::network::network;
#[cfg(feature = "redis")]
pub use self::redis::RedisSettings;
#[cfg(feature = "redis")]
pub(crate) use self::redis::is_of_key_events;
#[doc(inline)]
pub use tidings_log::{Durability, LogSettings};
#[doc(inline)]
pub use tidings_protocol::{Secret, UnknownWord};
#[cfg(feature = "redis")]
#[doc(inline)]
pub use tidings_redis::{RedisAddress, RedisHost, RedisSentinel, RedisUrl};

settings! {
    /// All settings of one hub.
    ///
    /// [`Settings::default`] has the defaults of the manual. Change fields, and pass the settings to the hub's builder.
    ///
    /// ```
    /// let mut settings = tidings::config::Settings::default();
    /// settings.stream.keep_alive = std::time::Duration::from_secs(10);
    /// assert!(settings.validate().is_empty());
    /// ```
    pub struct Settings {
        /// Addresses to listen on. A port of 0 takes a free one. Default: `127.0.0.1:8000`.
        pub listen: Vec<SocketAddr> = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8000))],
        /// Directory of the log; `None` keeps everything in memory. Default: `tidings-data`.
        pub data_dir: Option<PathBuf> = Some(PathBuf::from("tidings-data")),
        /// Whether a hub without credentials may serve addresses other than loopback; the `Host` rule is off then. Default: `false`.
        pub insecure: bool = false,
        /// Whether `GET /api/v1/events/{channel}` sends one test event and ends. Default: `false`.
        pub test_mode: bool = false,
        /// Retention and durability of events.
        pub log: LogSettings = LogSettings::default(),
        /// Keep-alives and ends of streams.
        pub stream: StreamSettings = StreamSettings::default(),
        /// Rules for published events.
        pub channels: ChannelSettings = ChannelSettings::default(),
        /// Deadlines for reading requests.
        pub server: ServerSettings = ServerSettings::default(),
        /// Authentication and permissions; `None` is an open hub. Default: none.
        pub auth: Option<AuthSettings> = None,
        /// Limits for clients.
        pub limits: LimitSettings = LimitSettings::default(),
        /// Origins whose pages may call the hub.
        pub cors: CorsSettings = CorsSettings::default(),
        /// Access to the metrics.
        pub metrics: MetricsSettings = MetricsSettings::default(),
        /// The Redis that carries one log for several nodes; `None` is one node with a log of its own. Default: none.
        #[cfg(feature = "redis")]
        pub redis: Option<RedisSettings> = None,
        /// Shutdown of the hub.
        pub shutdown: ShutdownSettings = ShutdownSettings::default(),
    }
}

impl Settings {
    /// Returns the URL of the Redis that has the log, without its password; `None` if the node has a log of its own.
    pub(crate) fn redis_url(&self) -> Option<String> {
        #[cfg(feature = "redis")]
        if let Some(redis) = &self.redis {
            return Some(redis.url.to_string());
        }
        None
    }
}

settings! {
    /// Settings of streams.
    pub struct StreamSettings {
        /// Whether streams are served; stream routes answer 204 otherwise. Default: `true`.
        pub enabled: bool = true,
        /// Silence of a stream after which a keep-alive is sent. Default: 15 s.
        pub keep_alive: Duration = Duration::from_secs(15),
        /// Time after which a socket that takes no pending bytes is closed. Default: 30 s.
        pub write_timeout: Duration = Duration::from_secs(30),
        /// Age at which a stream ends and its client reconnects; `None` is no limit. Default: none.
        pub max_age: Option<Duration> = None,
    }
}

settings! {
    /// Settings of published events.
    pub struct ChannelSettings {
        /// Required form of an event's data. Default: [`Envelope::Any`].
        pub envelope: Envelope = Envelope::Any,
        /// Values of `type` that a strict envelope may carry; empty allows all. Default: empty.
        pub types: Vec<String> = Vec::new(),
    }
}

settings! {
    /// Settings of the HTTP server.
    pub struct ServerSettings {
        /// Time in which a client must send the head of a request, from its first byte, or from the connection's start.
        /// Default: 10 s.
        pub head_timeout: Duration = Duration::from_secs(10),
        /// Time for which a connection may be idle between requests. HTTP/1.1 clients get it as `Keep-Alive: timeout=`, in
        /// whole seconds; the hub waits 2 s longer. Default: 75 s.
        pub idle_timeout: Duration = Duration::from_secs(75),
        /// Time in which a client must send the body of a request. Default: 30 s.
        pub body_timeout: Duration = Duration::from_secs(30),
        /// Certificate and key for TLS; `None` serves plain HTTP. Default: none.
        pub tls: Option<TlsSettings> = None,
    }
}

/// Files for TLS. [`Hub::reload`](crate::Hub::reload) reads them again, and the hub does within 30 s of a change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// The certificate chain, PEM, the server's own certificate first.
    pub cert_file: PathBuf,
    /// The private key, PEM.
    pub key_file: PathBuf,
}

settings! {
    /// Limits for clients.
    pub struct LimitSettings {
        /// Open streams; further ones get 503. Default: 15,000.
        pub connections: u64 = 15_000,
        /// Open streams of one user; further ones get 429. Default: 100.
        pub connections_per_user: u64 = 100,
        /// Open streams of one address (IPv6: one /64); `None` is no limit. Default: none.
        pub connections_per_address: Option<u64> = None,
        /// Proxies, as CIDRs, whose `X-Forwarded-For` is trusted. Default: empty.
        pub trusted_proxies: Vec<String> = Vec::new(),
        /// Events per second that one API key or user may publish; `None` is no limit. Default: none.
        pub publishes_per_second: Option<u64> = None,
        /// Streams per second that one user, or one address without a user, may open; `None` is no limit. Default: none.
        pub streams_per_second: Option<u64> = None,
        /// Channels and patterns of one stream. Default: 256.
        pub channels_per_connection: u64 = 256,
        /// Bytes of one event's data. Default: 256 KiB.
        pub event_bytes: u64 = 256 << 10,
        /// Bytes of one request's body; at least `event_bytes`. Default: 8 MiB.
        pub body_bytes: u64 = 8 << 20,
    }
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

settings! {
    /// Settings of the shutdown.
    pub struct ShutdownSettings {
        /// Time over which the ends of open streams are spread. Default: 5 s.
        pub window: Duration = Duration::from_secs(5),
    }
}

words! {
    /// Required form of an event's data.
    pub enum Envelope {
        /// Any text.
        Any = "any",
        /// A JSON object of exactly `type` (text) and `object` (an object or text).
        Strict = "strict",
    }
}

words_from_str!(Envelope, Right, Algorithm);

#[cfg(test)]
mod tests;
