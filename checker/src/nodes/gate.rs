//! The address that the nodes have for Redis: it leads to one server now and to another after a failover.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A listener that passes bytes on, until it is dropped.
pub(super) struct Gate {
    address: SocketAddr,
    leads_to: watch::Sender<SocketAddr>,
    /// Counts the times that what was open was forgotten.
    forgotten: watch::Sender<u64>,
    listening: JoinHandle<()>,
}

impl Gate {
    /// Opens one on a free port.
    pub(super) async fn open(leads_to: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (leads_to, turns) = watch::channel(leads_to);
        let (forgotten, forgets) = watch::channel(0);
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(client, turns.clone(), forgets.clone()));
            }
        });
        Ok(Self { address, leads_to, forgotten, listening })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts every connection, and leads new ones elsewhere.
    pub(super) fn turn_to(&self, address: SocketAddr) {
        self.leads_to.send_replace(address);
    }

    /// Leaves the connections that there are open, and drops their bytes, as a network does that has forgotten them.
    pub(super) fn forget(&self) {
        self.forgotten.send_modify(|count| *count += 1);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Passes bytes on both ways, until one side ends or the gate is turned.
async fn pass_on(
    mut client: TcpStream,
    mut turns: watch::Receiver<SocketAddr>,
    mut forgets: watch::Receiver<u64>,
) {
    let address = *turns.borrow_and_update();
    forgets.borrow_and_update();
    // Where nobody listens behind it, a connection ends at once.
    let Ok(mut server) = TcpStream::connect(address).await else { return };
    let (_, _) = (client.set_nodelay(true), server.set_nodelay(true));
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => return,
        _ = turns.changed() => return,
        _ = forgets.changed() => {}
    }
    let _ = turns.changed().await;
}
