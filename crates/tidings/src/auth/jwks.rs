//! The keys of an identity provider, fetched when somebody needs them: one fetch at a time, never two within ten
//! seconds, and kept when a fetch fails.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use tokio::{
    sync::{Mutex as AsyncMutex, Semaphore},
    time::{Instant, sleep},
};
use tracing::warn;

use crate::{
    error::{Code, Error},
    metrics::Metrics,
    outbound_http::{AddressPolicy, FetchError, FetchedResponse, HttpClient, Target},
    sync::{Lock, Mutex, MutexGuard},
};

/// A fetch that takes longer has failed.
const DEADLINE: Duration = Duration::from_secs(5);

/// From the beginning of one fetch to that of the next, whatever comes of it: a stranger's token must not make the
/// hub a flood for the provider.
const INTERVAL_MIN: Duration = Duration::from_secs(10);

/// Requests that may wait for a fetch because their tokens name a key that is not known: a stranger makes up names.
const WAITING_MAX: usize = 64;

/// The keys behind one URL.
pub(crate) struct Jwks<Keys> {
    provider: Arc<HttpClient>,
    parse: fn(&[u8]) -> Result<Keys, String>,
    interval: Duration,
    kept: Mutex<Option<CachedKeys<Keys>>>,
    fetching: AsyncMutex<FetchState>,
    /// For requests that wait for a fetch because of a key's name.
    places: Semaphore,
    metrics: Arc<Metrics>,
}

struct CachedKeys<Keys> {
    keys: Arc<Keys>,
    /// What they were read from: the same document again is nothing new.
    document: Bytes,
}

/// Whoever holds it moves the fetch on; where its caller goes away the next one takes it up, so nobody can keep a
/// fetch from ending by asking for it and leaving.
#[derive(Default)]
struct FetchState {
    began: Option<Instant>,
    under_way: Option<Fetch>,
    /// The last one that ended.
    ended: Option<FetchResult>,
}

#[derive(Clone, Copy)]
struct FetchResult {
    began: Instant,
    went_well: bool,
}

type Fetch = Pin<Box<dyn Future<Output = Result<FetchedResponse, FetchError>> + Send>>;

impl<Keys> Jwks<Keys> {
    /// Keys from `url`: https, or http to loopback; the error says what is wrong with it, as the fault of a setting.
    /// Nothing is fetched yet.
    pub(crate) fn new(
        url: &str,
        parse: fn(&[u8]) -> Result<Keys, String>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, String> {
        let target = Target::parse(url)?;
        // Over https the certificate says who answers, wherever that is.
        let reach = if target.is_https() { AddressPolicy::Anywhere } else { AddressPolicy::Loopback };
        if let Some(address) = target.address() {
            reach.check_address(address).map_err(|fault| format!("is http, and {fault}; use https"))?;
        }
        Ok(Self::over(HttpClient::new(target, reach, DEADLINE), parse, INTERVAL_MIN, metrics))
    }

    fn over(
        provider: HttpClient,
        parse: fn(&[u8]) -> Result<Keys, String>,
        interval: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (kept, fetching) = (Mutex::new(Lock::ProviderKeys, None), AsyncMutex::default());
        let places = Semaphore::new(WAITING_MAX);
        Self { provider: Arc::new(provider), parse, interval, kept, fetching, places, metrics }
    }

    /// The keys; the first to ask waits for them. Cancel safe.
    ///
    /// # Errors
    /// [`Code::KeysUnavailable`] until a fetch has succeeded.
    pub(crate) async fn keys(&self) -> Result<Arc<Keys>, Error> {
        if let Some(keys) = self.newest() {
            return Ok(keys);
        }
        let mut fetching = self.fetching.lock().await;
        // Those who waited for another's fetch find its keys.
        if let Some(keys) = self.newest() {
            return Ok(keys);
        }
        self.fetch_if_due(&mut fetching).await;
        self.newest().ok_or_else(|| {
            let detail = "the keys that tokens are verified with are not known yet; ask again";
            unavailable(detail, self.wait(&fetching))
        })
    }

    /// Looks for a key that [`Jwks::newest`] lacks: in what a fetch that begins after this call brings. Waits until a fetch is
    /// allowed. `None` says that the provider does not have the key. Cancel safe.
    ///
    /// # Errors
    /// [`Code::KeysUnavailable`] if as many requests wait as may, or if the fetch fails.
    pub(crate) async fn look_up<Found>(
        &self,
        find: impl Fn(&Keys) -> Option<Found>,
    ) -> Result<Option<Found>, Error> {
        let asked_at = Instant::now();
        let Ok(_place) = self.places.try_acquire() else {
            return Err(unavailable("too many requests wait for new keys; ask again", self.interval));
        };
        let mut fetching = self.fetching.lock().await;
        loop {
            if let Some(found) = self.newest().and_then(|keys| find(&keys)) {
                return Ok(Some(found));
            }
            if let Some(ended) = fetching.ended.filter(|ended| ended.began >= asked_at) {
                let failed = "the keys that tokens are verified with could not be fetched; ask again";
                return if ended.went_well {
                    Ok(None)
                } else {
                    Err(unavailable(failed, self.wait(&fetching)))
                };
            }
            sleep(self.wait(&fetching)).await;
            self.fetch(&mut fetching).await;
        }
    }

    /// Fetches once, as soon as may be: for a caller that comes back now and then, and does not go away meanwhile.
    pub(crate) async fn refresh(&self) {
        let wait = self.wait(&*self.fetching.lock().await);
        sleep(wait).await;
        self.fetch_if_due(&mut *self.fetching.lock().await).await;
    }

    /// The kept keys, at once.
    pub(crate) fn newest(&self) -> Option<Arc<Keys>> {
        self.kept().as_ref().map(|kept| kept.keys.clone())
    }

    /// For how long no fetch may begin. One that is under way may go on.
    fn wait(&self, fetching: &FetchState) -> Duration {
        let due = fetching.began.map(|began| began + self.interval);
        match due {
            Some(due) if fetching.under_way.is_none() => due.saturating_duration_since(Instant::now()),
            _ => Duration::ZERO,
        }
    }

    async fn fetch_if_due(&self, fetching: &mut FetchState) {
        let was_left_behind = fetching.under_way.is_some();
        if self.wait(fetching).is_zero() && !self.fetch(fetching).await {
            // Nobody moved it on, so its time was over before it was taken up.
            if was_left_behind && self.wait(fetching).is_zero() {
                self.fetch(fetching).await;
            }
        }
    }

    /// Begins a fetch, or takes up the one that was left behind, and says whether it went well.
    async fn fetch(&self, fetching: &mut FetchState) -> bool {
        let under_way = fetching.under_way.get_or_insert_with(|| {
            fetching.began = Some(Instant::now());
            self.metrics.auth.jwks_fetch();
            let provider = self.provider.clone();
            Box::pin(async move { provider.get().await })
        });
        let answer = under_way.await;
        fetching.under_way = None;
        let taken = self.take(answer);
        let ended = |began| FetchResult { began, went_well: taken.is_ok() };
        fetching.ended = fetching.began.map(ended);
        if let Err(fault) = &taken {
            self.metrics.auth.jwks_failure();
            warn!(url = %self.provider.target(), fault, "keys could not be fetched; those there are stay");
        }
        taken.is_ok()
    }

    fn take(&self, answer: Result<FetchedResponse, FetchError>) -> Result<(), String> {
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

fn unavailable(detail: &'static str, wait: Duration) -> Error {
    Error::new(Code::KeysUnavailable, detail).retry_after(wait.max(Duration::from_secs(1)))
}

#[cfg(test)]
mod tests;
