//! Name resolution, once per connection. A connection goes only to addresses that the policy allows.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::{io, vec};

use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::Semaphore;
use tower_service::Service;

use super::AddressPolicy;

/// Lookups at the same time. Each blocks a runtime thread, also after its deadline, and reads of the log need those
/// threads.
const LOOKUPS_MAX: usize = 2;

/// Function from names to addresses; tests replace it.
pub(super) type Lookup = Arc<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

/// Resolver of one [`super::HttpClient`]. Hosts written as addresses are not resolved.
#[derive(Clone)]
pub(super) struct Resolver {
    policy: AddressPolicy,
    lookup: Lookup,
    slots: Arc<Semaphore>,
}

impl Resolver {
    pub(super) fn new(policy: AddressPolicy) -> Self {
        Self::with_lookup(policy, Arc::new(system_lookup))
    }

    pub(super) fn with_lookup(policy: AddressPolicy, lookup: Lookup) -> Self {
        Self { policy, lookup, slots: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }

    async fn resolve(self, name: Name) -> io::Result<vec::IntoIter<SocketAddr>> {
        let slot = self.slots.acquire_owned().await.map_err(io::Error::other)?;
        let (lookup, host) = (self.lookup, name.clone());
        let resolving = tokio::task::spawn_blocking(move || {
            // The slot is held until the thread is free, also after the request was dropped.
            let _slot = slot;
            lookup(host.as_str())
        });
        let addresses = resolving.await.map_err(io::Error::other)??;
        if addresses.is_empty() {
            return Err(io::Error::other("the name resolves to nothing"));
        }
        self.policy.check_name(name.as_str(), &addresses).map_err(io::Error::other)?;
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

fn system_lookup(name: &str) -> io::Result<Vec<IpAddr>> {
    Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}
