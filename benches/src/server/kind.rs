//! What is compared, and whether this machine has it.

use std::path::Path;

use clap::ValueEnum;

/// A server, as it is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServerKind {
    /// The hub, events in memory only.
    Memory,
    /// Another build of the hub, which `--before` names; events in memory only.
    Before,
    /// The hub, synced every second.
    Interval,
    /// The hub, synced before the answer.
    Fsync,
    /// axum + `tokio::sync::broadcast`.
    AxumBaseline,
    /// nginx with Nchan.
    Nchan,
    /// Pushpin, with an origin that holds every stream.
    Pushpin,
    /// What the kernel charges.
    EpollBaseline,
}

/// Debian's module of nginx.
pub(super) const NCHAN_MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

/// What Pushpin's own settings include.
pub(super) const PUSHPIN_INTERNAL: &str = "/usr/lib/pushpin/internal.conf";

impl ServerKind {
    /// The word of a table or a chart.
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

    /// How the hub keeps events; None where it is not the hub.
    pub(crate) fn durability(self) -> Option<&'static str> {
        match self {
            Self::Memory | Self::Before => Some("memory"),
            Self::Interval => Some("interval"),
            Self::Fsync => Some("fsync"),
            Self::AxumBaseline | Self::Nchan | Self::Pushpin | Self::EpollBaseline => None,
        }
    }

    /// Whether it is the hub, whose faults are errors; the others promise less, so what they lose is a figure.
    pub(crate) fn is_ours(self) -> bool {
        self.durability().is_some()
    }

    /// Why it cannot be measured here.
    pub(crate) fn missing(self) -> Option<&'static str> {
        match self {
            Self::Nchan if !Path::new(NCHAN_MODULE).exists() => Some("libnginx-mod-nchan is not installed"),
            Self::Pushpin if !Path::new(PUSHPIN_INTERNAL).exists() => Some("pushpin is not installed"),
            _ => None,
        }
    }
}
