//! Resolves a name once per connection and judges what it resolves to: a connection goes nowhere else.

use std::{
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    vec,
};

use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::Semaphore;
use tower_service::Service;

use super::AddressPolicy;

/// A look-up holds a thread of the runtime until the system gives up, deadline or not, and reads of the log need
/// those threads too.
const LOOKUPS_MAX: usize = 2;

/// The way from names to addresses; tests give their own.
pub(super) type Lookup = Arc<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

/// Resolves for one [`super::HttpClient`]. Hosts that are written as addresses do not come here.
#[derive(Clone)]
pub(super) struct Resolver {
    reach: AddressPolicy,
    lookup: Lookup,
    room: Arc<Semaphore>,
}

impl Resolver {
    pub(super) fn new(reach: AddressPolicy) -> Self {
        Self::with_lookup(reach, Arc::new(ask_system))
    }

    pub(super) fn with_lookup(reach: AddressPolicy, lookup: Lookup) -> Self {
        Self { reach, lookup, room: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }

    async fn resolve(self, name: Name) -> io::Result<vec::IntoIter<SocketAddr>> {
        let place = self.room.acquire_owned().await.map_err(io::Error::other)?;
        let (lookup, asked) = (self.lookup, name.clone());
        let looking = tokio::task::spawn_blocking(move || {
            // The place is taken until the thread is free, even if nobody waits for the answer any more.
            let _place = place;
            lookup(asked.as_str())
        });
        let addresses = looking.await.map_err(io::Error::other)??;
        if addresses.is_empty() {
            return Err(io::Error::other("the name resolves to nothing"));
        }
        self.reach.check_name(name.as_str(), &addresses).map_err(io::Error::other)?;
        // The connector sets the port.
        let addresses: Vec<_> = addresses.into_iter().map(|address| SocketAddr::new(address, 0)).collect();
        Ok(addresses.into_iter())
    }
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(self.clone().resolve(name))
    }
}

fn ask_system(name: &str) -> io::Result<Vec<IpAddr>> {
    Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}
