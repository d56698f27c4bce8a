//! Keys of an identity provider, fetched on demand: one fetch at a time, at most one in ten seconds. A failed fetch keeps
//! the previous keys.

use std::{borrow::Cow, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use tidings_sync::{Mutex, MutexGuard};
use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::error::{Code, Error};
use crate::lock;
use crate::metrics::Metrics;
use crate::outbound_http::{AddressPolicy, FetchError, FetchedResponse, HttpClient, Target};

/// Deadline of one fetch.
const DEADLINE: Duration = Duration::from_secs(5);

/// Time from the start of one fetch to the start of the next, so that forged tokens cannot flood the provider.
const INTERVAL_MIN: Duration = Duration::from_secs(10);

/// Requests that may wait for a fetch because of an unknown key id, which a forged token can have.
const WAITING_MAX: usize = 64;

/// Keys of one URL.
pub(crate) struct Jwks<Keys> {
    provider: Arc<HttpClient>,
    parse: fn(&[u8]) -> Result<Keys, String>,
    interval: Duration,
    kept: Mutex<Option<CachedKeys<Keys>>>,
    fetching: AsyncMutex<FetchState>,
    /// Slots of requests that wait for a fetch because of a key id.
    waiters: Semaphore,
    metrics: Arc<Metrics>,
}

struct CachedKeys<Keys> {
    keys: Arc<Keys>,
    /// Document that the keys were read from; fetching the same document changes nothing.
    document: Bytes,
}

/// State of the fetches. The request that holds the lock drives the fetch. If it is dropped, the next request continues, so
/// a client that disconnects cannot stop a fetch.
#[derive(Default)]
struct FetchState {
    began: Option<Instant>,
    in_flight: Option<Fetch>,
    /// Last completed fetch.
    ended: Option<FetchResult>,
}

#[derive(Clone, Copy)]
struct FetchResult {
    began: Instant,
    succeeded: bool,
}

type Fetch = Pin<Box<dyn Future<Output = Result<FetchedResponse, FetchError>> + Send>>;

impl<Keys> Jwks<Keys> {
    /// Returns the keys of `url`, https or http to loopback, without a fetch. The error is the text after the setting's name.
    pub(crate) fn new(
        url: &str,
        parse: fn(&[u8]) -> Result<Keys, String>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, String> {
        let target = Target::parse(url)?;
        // Over https the certificate authenticates the provider at any address.
        let policy = if target.is_https() { AddressPolicy::Anywhere } else { AddressPolicy::Loopback };
        if let Some(address) = target.address() {
            policy.check_address(address).map_err(|fault| format!("is http, and {fault}; use https"))?;
        }
        Ok(Self::over(HttpClient::new(target, policy, DEADLINE), parse, INTERVAL_MIN, metrics))
    }

    fn over(
        provider: HttpClient,
        parse: fn(&[u8]) -> Result<Keys, String>,
        interval: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (kept, fetching) = (Mutex::new(&lock::PROVIDER_KEYS, None), AsyncMutex::default());
        let waiters = Semaphore::new(WAITING_MAX);
        Self { provider: Arc::new(provider), parse, interval, kept, fetching, waiters, metrics }
    }

    /// Returns the keys; the first call waits for a fetch. Cancel-safe.
    ///
    /// # Errors
    /// [`Code::KeysUnavailable`] until a fetch has succeeded.
    pub(crate) async fn keys(&self) -> Result<Arc<Keys>, Error> {
        if let Some(keys) = self.newest() {
            return Ok(keys);
        }
        let mut fetching = self.fetching.lock().await;
        // Another request may have fetched them while this one waited for the lock.
        if let Some(keys) = self.newest() {
            return Ok(keys);
        }
        self.fetch_if_due(&mut fetching).await;
        self.newest().ok_or_else(|| {
            let detail = "the keys that verify tokens are not known yet; retry";
            unavailable(detail, self.wait(&fetching))
        })
    }

    /// Finds a key that [`Jwks::newest`] lacks, by a fetch that begins after this call. Waits until a fetch is allowed. `None`
    /// means that the provider does not have the key. Cancel-safe.
    ///
    /// # Errors
    /// [`Code::KeysUnavailable`] if as many requests wait as may, or if the fetch fails.
    pub(crate) async fn look_up<Found>(
        &self,
        find: impl Fn(&Keys) -> Option<Found>,
    ) -> Result<Option<Found>, Error> {
        let called_at = Instant::now();
        let Ok(_waiter) = self.waiters.try_acquire() else {
            let detail = format!("too many requests wait for new keys; limit is {WAITING_MAX}; retry");
            return Err(unavailable(detail, self.interval));
        };
        let mut fetching = self.fetching.lock().await;
        loop {
            if let Some(found) = self.newest().and_then(|keys| find(&keys)) {
                return Ok(Some(found));
            }
            if let Some(ended) = fetching.ended.filter(|ended| ended.began >= called_at) {
                let failed = "the keys that verify tokens could not be fetched; retry";
                return if ended.succeeded {
                    Ok(None)
                } else {
                    Err(unavailable(failed, self.wait(&fetching)))
                };
            }
            sleep(self.wait(&fetching)).await;
            self.fetch(&mut fetching).await;
        }
    }

    /// Fetches the keys as soon as a fetch is allowed. The caller calls it periodically and does not drop it.
    pub(crate) async fn refresh(&self) {
        let wait = self.wait(&*self.fetching.lock().await);
        sleep(wait).await;
        self.fetch_if_due(&mut *self.fetching.lock().await).await;
    }

    /// Returns the keys of the last successful fetch, without waiting.
    pub(crate) fn newest(&self) -> Option<Arc<Keys>> {
        self.kept().as_ref().map(|kept| kept.keys.clone())
    }

    /// Returns the time until a fetch may begin; zero while one is in flight.
    fn wait(&self, fetching: &FetchState) -> Duration {
        let due = fetching.began.map(|began| began + self.interval);
        match due {
            Some(due) if fetching.in_flight.is_none() => due.saturating_duration_since(Instant::now()),
            _ => Duration::ZERO,
        }
    }

    async fn fetch_if_due(&self, fetching: &mut FetchState) {
        let was_abandoned = fetching.in_flight.is_some();
        if self.wait(fetching).is_zero() && !self.fetch(fetching).await {
            // No request drove the abandoned fetch, so its deadline may have passed meanwhile.
            if was_abandoned && self.wait(fetching).is_zero() {
                self.fetch(fetching).await;
            }
        }
    }

    /// Begins a fetch or continues an abandoned one. Returns whether it succeeded.
    async fn fetch(&self, fetching: &mut FetchState) -> bool {
        let in_flight = fetching.in_flight.get_or_insert_with(|| {
            fetching.began = Some(Instant::now());
            self.metrics.auth.jwks_fetches.inc();
            let provider = self.provider.clone();
            Box::pin(async move { provider.get().await })
        });
        let answer = in_flight.await;
        fetching.in_flight = None;
        let stored = self.store(answer);
        let ended = |began| FetchResult { began, succeeded: stored.is_ok() };
        fetching.ended = fetching.began.map(ended);
        if let Err(fault) = &stored {
            self.metrics.auth.jwks_failures.inc();
            warn!(url = %self.provider.target(), fault, "fetch of keys failed; the previous keys stay");
        }
        stored.is_ok()
    }

    fn store(&self, answer: Result<FetchedResponse, FetchError>) -> Result<(), String> {
        let FetchedResponse { status, body } = answer.map_err(|fault| fault.to_string())?;
        if status != StatusCode::OK {
            return Err(format!("the answer is {status}; only 200 counts, and a redirect is not followed"));
        }
        if self.kept().as_ref().is_some_and(|kept| kept.document == body) {
            return Ok(());
        }
        let keys = Arc::new((self.parse)(&body)?);
        *self.kept() = Some(CachedKeys { keys, document: body });
        Ok(())
    }

    fn kept(&self) -> MutexGuard<'_, Option<CachedKeys<Keys>>> {
        self.kept.lock()
    }
}

fn unavailable(detail: impl Into<Cow<'static, str>>, wait: Duration) -> Error {
    Error::new(Code::KeysUnavailable, detail).retry_after(wait.max(Duration::from_secs(1)))
}

#[cfg(test)]
mod tests;
