//! Compared servers, and their availability on this machine.

use std::path::Path;

use clap::ValueEnum;

/// A server with its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServerKind {
    /// The hub with its log in memory.
    Memory,
    /// Another build of the hub, from `--before`, with its log in memory.
    Before,
    /// The hub, which syncs every second.
    Interval,
    /// The hub, which syncs before the response.
    Fsync,
    /// axum + `tokio::sync::broadcast`.
    AxumBaseline,
    /// nginx with Nchan.
    Nchan,
    /// Pushpin, with an origin that holds every stream.
    Pushpin,
    /// One thread with epoll: the cost of the kernel.
    EpollBaseline,
}

/// Debian's module for nginx.
pub(crate) const NCHAN_MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

/// Internal settings of Pushpin.
pub(crate) const PUSHPIN_INTERNAL: &str = "/usr/lib/pushpin/internal.conf";

impl ServerKind {
    /// All servers but these. The epoll baseline is last: the others are its multiples.
    pub(crate) fn all_but(excluded: &[Self]) -> Vec<Self> {
        let all = Self::value_variants().iter().copied();
        all.filter(|kind| !excluded.contains(kind)).collect()
    }

    /// Name in tables and charts.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "tidings, `memory`",
            Self::Before => "tidings before, `memory`",
            Self::Interval => "tidings, `interval`",
            Self::Fsync => "tidings, `fsync`",
            Self::AxumBaseline => "`axum` + broadcast",
            Self::Nchan => "Nchan",
            Self::Pushpin => "Pushpin",
            Self::EpollBaseline => "epoll baseline",
        }
    }

    /// Durability of the hub; `None` for another server.
    pub(crate) fn durability(self) -> Option<&'static str> {
        match self {
            Self::Memory | Self::Before => Some("memory"),
            Self::Interval => Some("interval"),
            Self::Fsync => Some("fsync"),
            _ => None,
        }
    }

    /// Whether this is the hub, whose faults are errors. Faults of other servers are figures.
    pub(crate) fn is_ours(self) -> bool {
        self.durability().is_some()
    }

    /// Reason why the server cannot be measured here.
    pub(crate) fn missing(self) -> Option<&'static str> {
        match self {
            Self::Nchan if !Path::new(NCHAN_MODULE).exists() => Some("libnginx-mod-nchan is not installed"),
            Self::Pushpin if !Path::new(PUSHPIN_INTERNAL).exists() => Some("pushpin is not installed"),
            _ => None,
        }
    }
}
