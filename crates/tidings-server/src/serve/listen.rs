//! Listening sockets.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// How many connections may wait to be accepted. After a restart thousands of clients come back within a second;
/// the system lowers this to its own bound.
const BACKLOG: i32 = 4096;

/// Listens on every address; answers the listeners and the addresses that they really have.
///
/// # Errors
/// The address that cannot be had, why, and what to do.
pub(super) fn bind(addresses: &[SocketAddr]) -> Result<(Vec<TcpListener>, Vec<SocketAddr>), String> {
    let mut listeners = Vec::with_capacity(addresses.len());
    let mut actual = Vec::with_capacity(addresses.len());
    for address in addresses {
        let listener = listener(*address).map_err(|error| refused(*address, &error))?;
        actual.push(listener.local_addr().map_err(|error| refused(*address, &error))?);
        listeners.push(listener);
    }
    Ok((listeners, actual))
}

fn listener(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for connections of the last run that linger in TIME_WAIT.
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

fn refused(address: SocketAddr, error: &std::io::Error) -> String {
    let way_out = match error.kind() {
        ErrorKind::AddrInUse => "another program has this address; stop it, or choose another with --listen",
        ErrorKind::PermissionDenied => "this port needs privileges; choose one from 1024 on with --listen",
        ErrorKind::AddrNotAvailable => "this machine has no such address; choose another with --listen",
        _ => "choose another with --listen",
    };
    format!("cannot listen on {address}: {error}; {way_out}")
}
