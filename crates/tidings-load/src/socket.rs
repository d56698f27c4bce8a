//! Sockets that connect without waiting, from several addresses of loopback where one has too few ports.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use mio::net::TcpStream;
use socket2::{Domain, Socket, Type};

/// Connections from one source address: well below the ports that it has.
const PORTS_PER_ADDRESS: usize = 10_000;

/// What a stopped or crawling reader lets the kernel hold for it, so that the server soon feels it.
const SMALL_BUFFER: usize = 4096;

/// Where connections go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Address and port.
    pub address: SocketAddr,
}

impl Target {
    fn spreads(self) -> bool {
        self.address.is_ipv4() && self.address.ip().is_loopback() && cfg!(target_os = "linux")
    }

    /// Begins to connect; `number` spreads connections over source addresses.
    pub(crate) fn connect(self, number: usize, is_small: bool) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(self.address), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        if self.spreads() && number >= PORTS_PER_ADDRESS {
            let host = u8::try_from(1 + number / PORTS_PER_ADDRESS).map_err(io::Error::other)?;
            let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, host));
            socket.bind(&SocketAddr::from((source, 0)).into())?;
        }
        if is_small {
            socket.set_recv_buffer_size(SMALL_BUFFER)?;
        }
        socket.set_tcp_nodelay(true)?;
        // Reset, not closed in order: tens of thousands of ports would wait for a minute otherwise.
        socket.set_linger(Some(Duration::ZERO))?;
        match socket.connect(&self.address.into()) {
            Ok(()) => {}
            Err(error) if is_under_way(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(TcpStream::from_std(socket.into()))
    }
}

fn is_under_way(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
        || error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error())
}
