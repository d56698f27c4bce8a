//! Processes on the first core, and free addresses.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
};

use crate::result::BenchResult;

/// Starts a command on the first core.
pub(super) fn spawn(command: &Command) -> BenchResult<Child> {
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", "0"]).arg(command.get_program()).args(command.get_args());
    pinned.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Ok(pinned.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?)
}

/// A free address of loopback.
pub(super) fn free_address() -> BenchResult<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
