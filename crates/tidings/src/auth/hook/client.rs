//! Asks a hook on behalf of many: each question once at a time, within a deadline, and not again while its answer is
//! fresh.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::{
    sync::{Mutex as AsyncMutex, Semaphore},
    time::{Instant, timeout_at},
};

use super::{AccessRequest, AnyHook, Hook, HookError, cache::AnswerCache, http::HttpHook};
use crate::{
    config::AuthSettings,
    error::{Code, Error},
    metrics::Metrics,
    sync::{Lock, Mutex, MutexGuard},
};

/// So many questions are with the hook at once; the others wait, within their deadlines.
const FLIGHTS_MAX: usize = 64;

/// Nothing is known of when the backend is back.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The one way to a hook.
pub(crate) struct HookClient {
    hook: Box<dyn AnyHook>,
    timeout: Duration,
    state: Mutex<ClientState>,
    room: Semaphore,
    metrics: Arc<Metrics>,
}

struct ClientState {
    answers: AnswerCache,
    /// Questions that somebody waits for; each goes with the last who does.
    flights: HashMap<Arc<AccessRequest>, Arc<Flight>>,
}

/// One asking. Whoever holds the lock and finds no outcome asks; where its caller goes away the next one does.
type Flight = AsyncMutex<Option<HookOutcome>>;

/// An answer, or why there is none.
type HookOutcome = Result<bool, Arc<str>>;

/// One who waits for a flight.
struct FlightWaiter<'a> {
    hook_client: &'a HookClient,
    request: Arc<AccessRequest>,
    /// Always there until it is dropped.
    flight: Option<Arc<Flight>>,
}

impl HookClient {
    /// Asks the backend at `url`; the error says what is wrong with the URL, as the fault of a setting.
    pub(crate) fn http(url: &str, settings: &AuthSettings, metrics: Arc<Metrics>) -> Result<Self, String> {
        Ok(Self::of(HttpHook::new(url, settings)?, settings, metrics))
    }

    /// Asks a hook in this process.
    pub(crate) fn of(hook: impl Hook, settings: &AuthSettings, metrics: Arc<Metrics>) -> Self {
        let state = ClientState { answers: AnswerCache::new(settings.hook_ttl), flights: HashMap::new() };
        Self {
            hook: Box::new(hook),
            timeout: settings.hook_timeout,
            state: Mutex::new(Lock::HookAnswers, state),
            room: Semaphore::new(FLIGHTS_MAX),
            metrics,
        }
    }

    /// Whether the hook allows it, by a fresh answer or a new one. Cancel safe: who waits for the same answer gets it.
    ///
    /// # Errors
    /// [`Code::HookUnavailable`] where there is no answer; the cause is for the log.
    pub(crate) async fn allow(&self, request: &AccessRequest) -> Result<bool, Error> {
        self.outcome(request).await.map_err(|cause| {
            Error::new(Code::HookUnavailable, "the backend that decides on this did not answer; ask again")
                .retry_after(RETRY_AFTER)
                .caused_by(cause.to_string())
        })
    }

    /// Whether the hook still allows what it did, by a fresh answer or a new one; `None` where there is no answer,
    /// which takes nothing away. Cancel safe, as [`HookClient::allow`].
    pub(crate) async fn recheck(&self, request: &AccessRequest) -> Option<bool> {
        self.outcome(request).await.ok()
    }

    async fn outcome(&self, request: &AccessRequest) -> HookOutcome {
        let waiting = match self.find(request) {
            CacheLookup::Fresh(allowed) => return Ok(allowed),
            CacheLookup::Flight(waiting) => waiting,
        };
        let deadline = Instant::now() + self.timeout;
        let Ok(mut outcome) = timeout_at(deadline, waiting.flight().lock()).await else {
            return Err(self.too_late());
        };
        if let Some(outcome) = &*outcome {
            return outcome.clone();
        }
        let found = self.ask(&waiting.request, deadline).await;
        // Before the lock goes: who comes from here on finds the answer, or a new flight.
        self.finish_flight(&waiting, &found);
        *outcome = Some(found.clone());
        found
    }

    fn find(&self, request: &AccessRequest) -> CacheLookup<'_> {
        let mut state = self.state();
        if let Some(allowed) = state.answers.fresh(request, Instant::now()) {
            return CacheLookup::Fresh(allowed);
        }
        let (request, flight) = match state.flights.get_key_value(request) {
            Some((request, flight)) => (request.clone(), flight.clone()),
            None => {
                let (request, flight) = (Arc::new(request.clone()), Arc::new(Flight::new(None)));
                state.flights.insert(request.clone(), flight.clone());
                (request, flight)
            }
        };
        CacheLookup::Flight(FlightWaiter { hook_client: self, request, flight: Some(flight) })
    }

    async fn ask(&self, request: &AccessRequest, deadline: Instant) -> HookOutcome {
        let asking = async {
            // Half of the time is the hook's own: what is asked with none left only adds to what holds it up.
            let place = timeout_at(deadline - self.timeout / 2, self.room.acquire()).await;
            let _place = place.map_err(|_| HookError::new("too many other questions wait"))??;
            self.metrics.hook_request();
            self.ask_unless_it_panics(request).await
        };
        let outcome = match timeout_at(deadline, asking).await {
            Ok(answer) => answer.map_err(|fault| fault.to_string().into()),
            Err(_) => Err(self.too_late()),
        };
        if outcome.is_err() {
            self.metrics.hook_failure();
        }
        outcome
    }

    async fn ask_unless_it_panics(&self, request: &AccessRequest) -> Result<bool, HookError> {
        let mut answering = pin!(self.hook.allow(request));
        // Nothing of the hook is looked at after it panicked; it answers for its own state.
        std::future::poll_fn(|context| {
            catch_unwind(AssertUnwindSafe(|| answering.as_mut().poll(context)))
                .unwrap_or_else(|_| Poll::Ready(Err(HookError::new("the hook panicked"))))
        })
        .await
    }

    fn finish_flight(&self, waiting: &FlightWaiter<'_>, outcome: &HookOutcome) {
        let mut state = self.state();
        if let Ok(allowed) = outcome {
            state.answers.keep(&waiting.request, *allowed, Instant::now());
        }
        state.flights.remove(&waiting.request);
    }

    fn too_late(&self) -> Arc<str> {
        format!("no answer within {:?}", self.timeout).into()
    }

    fn state(&self) -> MutexGuard<'_, ClientState> {
        self.state.lock()
    }
}

enum CacheLookup<'a> {
    Fresh(bool),
    Flight(FlightWaiter<'a>),
}

impl FlightWaiter<'_> {
    fn flight(&self) -> &Flight {
        self.flight.as_ref().expect("a flight is there until it is dropped")
    }

    fn is_of(&self, flight: &Arc<Flight>) -> bool {
        self.flight.as_ref().is_some_and(|own| Arc::ptr_eq(own, flight))
    }
}

impl Drop for FlightWaiter<'_> {
    /// The last one who waits takes the flight along: nobody is left to make it.
    fn drop(&mut self) {
        let mut state = self.hook_client.state();
        let is_listed = state.flights.get(&self.request).is_some_and(|flight| self.is_of(flight));
        // Under the lock, so that of two who leave at once one counts itself as the last.
        self.flight = None;
        if is_listed && state.flights.get(&self.request).is_some_and(|flight| Arc::strong_count(flight) == 1)
        {
            state.flights.remove(&self.request);
        }
    }
}

#[cfg(test)]
mod tests;
