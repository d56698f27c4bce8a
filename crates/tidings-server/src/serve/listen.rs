//! Listening sockets.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted. After a restart thousands of clients return within a second. The system
/// lowers this to its own bound.
const BACKLOG: i32 = 4096;

/// Listens on every address. Returns the listeners and their actual addresses.
///
/// # Errors
/// The address that failed, the error, and advice.
pub(super) fn bind(addresses: &[SocketAddr]) -> Result<(Vec<TcpListener>, Vec<SocketAddr>), String> {
    let mut listeners = Vec::with_capacity(addresses.len());
    let mut actual = Vec::with_capacity(addresses.len());
    for address in addresses {
        let listener = listener(*address).map_err(|error| bind_error(*address, &error))?;
        actual.push(listener.local_addr().map_err(|error| bind_error(*address, &error))?);
        listeners.push(listener);
    }
    Ok((listeners, actual))
}

fn listener(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for connections of the last run that are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Otherwise `[::]` takes the port of `0.0.0.0`, too, and listing both fails.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_error(address: SocketAddr, error: &std::io::Error) -> String {
    let advice = match error.kind() {
        ErrorKind::AddrInUse => "another program has this address; stop it, or choose another with --listen",
        ErrorKind::PermissionDenied => "this port needs privileges; choose one from 1024 on with --listen",
        ErrorKind::AddrNotAvailable => "this machine has no such address; choose another with --listen",
        _ => "choose another with --listen",
    };
    format!("cannot listen on {address}: {error}; {advice}")
}
