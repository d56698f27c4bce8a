//! Commands of a server, and free addresses.

use std::{net::SocketAddr, process::Command};

use tidings_testkit::free_port;

/// Commands of a server.
pub(super) struct ServerCommands {
    /// The server, and then its backend.
    pub(super) commands: Vec<Command>,
    pub(super) pushpin: Option<SocketAddr>,
    /// Addresses at which a ready server listens.
    pub(super) listens_at: Vec<SocketAddr>,
    /// Path that a ready server answers with 200.
    pub(super) ready_path: Option<&'static str>,
}

impl ServerCommands {
    pub(super) fn of_one(command: Command, address: SocketAddr) -> Self {
        Self { commands: vec![command], pushpin: None, listens_at: vec![address], ready_path: None }
    }
}

/// A free address of loopback.
pub(super) fn free_address() -> SocketAddr {
    ([127, 0, 0, 1], free_port()).into()
}
