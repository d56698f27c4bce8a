//! Non-blocking connects, from several loopback addresses when one has too few ports.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use mio::net::TcpStream;
use socket2::{Domain, Socket, Type};

/// Connections from one source address: well below its number of ports.
const PORTS_PER_ADDRESS: usize = 10_000;

/// Receive buffer, in bytes, of a slow or stalled reader: the server soon meets back-pressure.
const SMALL_BUFFER_BYTES: usize = 4096;

/// Begins to connect. `number` spreads connections over source addresses.
pub(crate) fn connect(address: SocketAddr, number: usize, is_small: bool) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    if has_many_sources(address) && number >= PORTS_PER_ADDRESS {
        let host = u8::try_from(1 + number / PORTS_PER_ADDRESS).map_err(io::Error::other)?;
        let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, host));
        socket.bind(&SocketAddr::from((source, 0)).into())?;
    }
    if is_small {
        socket.set_recv_buffer_size(SMALL_BUFFER_BYTES)?;
    }
    socket.set_tcp_nodelay(true)?;
    // A reset in place of an orderly close: otherwise tens of thousands of ports stay in TIME_WAIT for a minute.
    socket.set_linger(Some(Duration::ZERO))?;
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error) if is_in_progress(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(TcpStream::from_std(socket.into()))
}

/// Whether every address of 127.0.0.0/8 may be a source.
fn has_many_sources(address: SocketAddr) -> bool {
    address.is_ipv4() && address.ip().is_loopback() && cfg!(target_os = "linux")
}

fn is_in_progress(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
        || error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error())
}
