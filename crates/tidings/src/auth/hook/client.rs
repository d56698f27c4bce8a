//! Client of the hook: one call at a time for equal requests, a deadline for each, and a cache of answers.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tidings_sync::{Mutex, MutexGuard};
use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::{AccessRequest, AnyHook, Hook, HookError, cache::AnswerCache, http::HttpHook};
use crate::config::AuthSettings;
use crate::error::{Code, Error};
use crate::lock;
use crate::metrics::Metrics;

/// Calls of the hook at the same time. Further requests wait until their deadlines.
const CALLS_MAX: usize = 64;

/// `Retry-After` while the hook does not answer.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Client of a hook.
pub(crate) struct HookClient {
    hook: Box<dyn AnyHook>,
    timeout: Duration,
    state: Mutex<ClientState>,
    calls: Semaphore,
    metrics: Arc<Metrics>,
}

struct ClientState {
    answers: AnswerCache,
    /// Calls in flight. The last waiter removes the call.
    flights: HashMap<Arc<AccessRequest>, Arc<Flight>>,
}

/// Call in flight. The waiter that holds the lock makes the call. If it is dropped, the next waiter calls.
type Flight = AsyncMutex<Option<HookOutcome>>;

/// An answer, or why there is none.
type HookOutcome = Result<bool, Arc<str>>;

/// Waiter for a call in flight.
struct FlightWaiter<'a> {
    hook_client: &'a HookClient,
    request: Arc<AccessRequest>,
    /// Always there until it is dropped.
    flight: Option<Arc<Flight>>,
}

impl HookClient {
    /// Returns a client of the backend at `url`; the error is the reason why the setting is invalid.
    pub(crate) fn http(url: &str, settings: &AuthSettings, metrics: Arc<Metrics>) -> Result<Self, String> {
        Ok(Self::of(HttpHook::new(url, settings)?, settings, metrics))
    }

    /// Returns a client of a hook in this process.
    pub(crate) fn of(hook: impl Hook, settings: &AuthSettings, metrics: Arc<Metrics>) -> Self {
        let state = ClientState { answers: AnswerCache::new(settings.hook_ttl), flights: HashMap::new() };
        Self {
            hook: Box::new(hook),
            timeout: settings.hook_timeout,
            state: Mutex::new(&lock::HOOK_ANSWERS, state),
            calls: Semaphore::new(CALLS_MAX),
            metrics,
        }
    }

    /// Whether the hook allows the request, by a cached answer or a call. Cancel-safe: another waiter continues the call.
    ///
    /// # Errors
    /// [`Code::HookUnavailable`] without an answer; the cause is for the log.
    pub(crate) async fn allow(&self, request: &AccessRequest) -> Result<bool, Error> {
        self.outcome(request).await.map_err(|cause| {
            Error::new(Code::HookUnavailable, "the hook did not answer; retry")
                .retry_after(RETRY_AFTER)
                .caused_by(cause.to_string())
        })
    }

    /// Whether the hook still allows the request; `None` without an answer. Cancel-safe, as [`HookClient::allow`].
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
            return Err(self.timeout_outcome());
        };
        if let Some(outcome) = &*outcome {
            return outcome.clone();
        }
        let found = self.call(&waiting.request, deadline).await;
        // Before the lock is released, so that later requests find the cached answer or start a new call.
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

    async fn call(&self, request: &AccessRequest, deadline: Instant) -> HookOutcome {
        let calling = async {
            // The hook itself gets at least half of the timeout, so waiting for a slot gets the other half.
            let slot = timeout_at(deadline - self.timeout / 2, self.calls.acquire()).await;
            let _slot = slot.map_err(|_| HookError::new("too many hook calls wait"))??;
            self.metrics.auth.hook_requests.inc();
            self.call_catching_panics(request).await
        };
        let outcome = match timeout_at(deadline, calling).await {
            Ok(answer) => answer.map_err(|fault| fault.to_string().into()),
            Err(_) => Err(self.timeout_outcome()),
        };
        if outcome.is_err() {
            self.metrics.auth.hook_failures.inc();
        }
        outcome
    }

    async fn call_catching_panics(&self, request: &AccessRequest) -> Result<bool, HookError> {
        let mut answering = pin!(self.hook.allow(request));
        // Unwind safe: after a panic this future reads no state of the hook.
        std::future::poll_fn(|context| {
            catch_unwind(AssertUnwindSafe(|| answering.as_mut().poll(context)))
                .unwrap_or_else(|_| Poll::Ready(Err(HookError::new("the hook panicked"))))
        })
        .await
    }

    fn finish_flight(&self, waiting: &FlightWaiter<'_>, outcome: &HookOutcome) {
        let mut state = self.state();
        if let Ok(allowed) = outcome {
            state.answers.insert(&waiting.request, *allowed, Instant::now());
        }
        state.flights.remove(&waiting.request);
    }

    fn timeout_outcome(&self) -> Arc<str> {
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
        self.flight.as_ref().expect("only drop takes the flight")
    }

    fn is_of(&self, flight: &Arc<Flight>) -> bool {
        self.flight.as_ref().is_some_and(|own| Arc::ptr_eq(own, flight))
    }
}

impl Drop for FlightWaiter<'_> {
    /// The last waiter removes the call.
    fn drop(&mut self) {
        let mut state = self.hook_client.state();
        let is_listed = state.flights.get(&self.request).is_some_and(|flight| self.is_of(flight));
        // Under the lock, so that exactly one of two concurrent drops counts as the last.
        self.flight = None;
        if is_listed && state.flights.get(&self.request).is_some_and(|flight| Arc::strong_count(flight) == 1)
        {
            state.flights.remove(&self.request);
        }
    }
}

#[cfg(test)]
mod tests;
