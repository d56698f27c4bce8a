//! One running hub: builds the parts, starts every long-lived task, and ends them in order.

mod backend;
mod certificate;
mod maintenance;
mod opener;
mod reauthorization;
mod reload;
mod serve;
mod shards;
mod supervisor;
mod tls;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use rand::{Rng, RngExt};
use tokio::{sync::watch, time::Instant};
use tracing::{info, warn};

pub use self::serve::{serve, serve_with};
use tidings_log::{Environment, Log, Millis, UnreadLog};
use tidings_sync::{Mutex, RwLock};

use self::supervisor::Supervisor;
use crate::auth::{Authorizer, Hook, HookClient, Revocations};
use crate::config::{AuthSettings, Durability, Settings};
use crate::connection::ConnectionHandle;
use crate::error::{Code, Error};
use crate::hub::{Hub, HubInner, Lifecycle, Subscribers, ThreadRegistry};
use crate::limits::{self, TrustedProxies};
use crate::lock;
use crate::metrics::Metrics;
use crate::publish::Publisher;

/// Time that threads have to end after one of them panicked.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// Builds a [`Hub`].
#[derive(Default)]
#[must_use = "a hub runs when `build` is awaited"]
pub struct HubBuilder {
    settings: Settings,
    hook: Option<HookClientBuilder>,
}

/// Masks secrets.
impl fmt::Debug for HubBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubBuilder")
            .field("settings", &self.settings)
            .field("has_hook", &self.hook.is_some())
            .finish()
    }
}

/// Builds the client of a hook from the settings.
type HookClientBuilder = Box<dyn FnOnce(&AuthSettings, Arc<Metrics>) -> HookClient + Send>;

impl HubBuilder {
    /// Sets all settings. Default: those of the manual.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Keeps the log in this directory. Default: `tidings-data`.
    pub fn data_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.settings.data_dir = Some(directory.into());
        self
    }

    /// Keeps the log in memory: it is lost at a restart. Default: on disk.
    pub fn memory(mut self) -> Self {
        self.settings.data_dir = None;
        self.settings.log.durability = Durability::Memory;
        self
    }

    /// Sets the hook that decides after the patterns of a credential have allowed. It replaces `auth.hook`. API keys and calls of
    /// the host application skip it. Default: none.
    pub fn hook(mut self, hook: impl Hook) -> Self {
        self.hook = Some(Box::new(move |settings, metrics| HookClient::of(hook, settings, metrics)));
        self
    }

    /// Starts a hub and waits until its log is open. Call it within a tokio runtime.
    ///
    /// # Errors
    /// Those of [`HubBuilder::start`], and the reason if the log cannot be opened.
    pub async fn build(self) -> Result<Hub, Error> {
        let hub = self.start().await?;
        hub.opened().await?;
        Ok(hub)
    }

    /// Starts a hub that opens its log while it serves. Reading a large log takes seconds. Call it within a tokio runtime.
    ///
    /// Until [`Hub::opened`] returns:
    /// - A stream is open and has comments only. Then it begins at the position that its client asked for.
    /// - Publishes and history wait for up to 5 s. Then they are `not_stored` and `unavailable`.
    /// - [`Hub::readiness`] is an error with the progress.
    ///
    /// # Errors
    /// If a setting is out of its bounds, if a TLS file cannot be used, or if the directory cannot be used or is in use.
    pub async fn start(self) -> Result<Hub, Error> {
        let settings = self.settings;
        if let Some(fault) = settings.validate().first() {
            return Err(Error::new(Code::BadRequest, fault.to_string()));
        }
        let tls = settings
            .server
            .tls
            .as_ref()
            .map(tls::load)
            .transpose()?
            .map(|it| RwLock::new(&lock::CERTIFICATE, it));
        let (log, unread) = begin_log(&settings).await?;
        let log = Arc::new(log);
        let metrics = Arc::new(Metrics::new(log.fsyncs()));
        let subscribers = Arc::new(Subscribers::default());
        let authorizer = authorizer(&settings, self.hook, &log, &metrics).await?;
        let trusted_proxies = TrustedProxies::parse(&settings.limits.trusted_proxies)
            .map_err(|why| Error::new(Code::BadRequest, format!("limits.trusted_proxies {why}")))?;
        let threads = ThreadRegistry::new(metrics.clone());
        let supervisor = Supervisor::new(threads.clone());
        let backend = backend::start(&settings, &log, unread, subscribers.clone(), &metrics, &supervisor)?;
        if let Some(ticket_store) = backend.ticket_store {
            authorizer.share_tickets(ticket_store);
        }
        if let Some(revocation_store) = backend.revocation_store {
            authorizer.share_revocations(revocation_store);
        }
        let clock = log.clone();
        let hub = Hub::new(HubInner {
            node_name: format!("{:016x}", rand::random::<u64>()),
            publisher: Publisher::new(backend.broker, metrics.clone(), &settings, move || clock.now()),
            connection_permits: limits::ConnectionLimits::new(&settings.limits),
            trusted_proxies,
            authorizer,
            log,
            subscribers,
            metrics,
            threads,
            tls,
            lifecycle: watch::Sender::new(Lifecycle::Ready),
            drain_deadline: OnceLock::new(),
            backend_health: backend.health,
            close: Mutex::new(&lock::CLOSE, Some(backend.end)),
            settings,
        });
        reauthorization::start(&hub, &supervisor);
        certificate::start(&hub, &supervisor);
        supervisor::end_with(&hub);
        Ok(hub)
    }
}

/// Locks the directory of the log, or creates a log without one.
async fn begin_log(settings: &Settings) -> Result<(Log, Option<UnreadLog>), Error> {
    let (log_settings, directory) = (settings.log.clone(), settings.data_dir.clone());
    let is_shared = settings.redis_url().is_some();
    let beginning = tokio::task::spawn_blocking(move || {
        if is_shared {
            return Ok((
                Log::replica(&log_settings, directory.as_deref(), Arc::new(SystemEnvironment))?,
                None,
            ));
        }
        Log::begin(&log_settings, directory.as_deref(), Arc::new(SystemEnvironment))
    });
    let begun = beginning
        .await
        .map_err(|error| Error::new(Code::Internal, "opening the log panicked").caused_by(error))?
        .map_err(|error| Error::new(Code::Unavailable, error.to_string()).caused_by(error))?;
    match (settings.redis_url(), &settings.data_dir) {
        (Some(redis), _) => info!(%redis, "the log is in redis"),
        (None, Some(directory)) if begun.1.is_some() => {
            info!(directory = %directory.display(), "opening the log");
        }
        (None, _) => info!("the log is in memory"),
    }
    Ok(begun)
}

/// Reads `[auth]` and the revocations of earlier runs.
async fn authorizer(
    settings: &Settings,
    hook: Option<HookClientBuilder>,
    log: &Arc<Log>,
    metrics: &Arc<Metrics>,
) -> Result<Authorizer, Error> {
    let settings = settings.clone();
    let own_hook =
        hook.map(|make| Arc::new(make(&settings.auth.clone().unwrap_or_default(), metrics.clone())));
    let (clock, metrics) = (log.clone(), metrics.clone());
    let opening = tokio::task::spawn_blocking(move || {
        let now = clock.own_now();
        let revocations = match &settings.data_dir {
            Some(directory) => Revocations::open(directory, now as f64 / 1000.0)?,
            None => Revocations::in_memory(),
        };
        Authorizer::new(&settings, own_hook, revocations, metrics, Box::new(move || clock.own_now()))
    });
    opening.await.map_err(|error| Error::new(Code::Internal, "reading [auth] panicked").caused_by(error))?
}

impl Hub {
    /// Returns a builder with the default settings.
    pub fn builder() -> HubBuilder {
        HubBuilder::default()
    }

    /// Ends the hub and returns when the log is durable.
    ///
    /// The hub refuses publishes, and ends every stream at a time of its own within `shutdown.window`; clients reconnect. Requests
    /// are still answered. [`serve`] closes its listeners afterwards.
    ///
    /// Every call waits for the same end. Cancel-safe: a task of the hub does the work.
    pub async fn shutdown(&self) {
        self.shutdown_within(self.settings().shutdown.window).await;
    }

    async fn shutdown_within(&self, window: Duration) {
        if self.inner().drain_deadline.set(Instant::now() + window).is_ok() {
            let hub = self.clone();
            tokio::spawn(async move {
                // If the drain panics, calls of `shutdown` must still return.
                Supervisor::of(&hub).watch("tidings-shutdown", hub.drain(window)).await;
                hub.inner().lifecycle.send_replace(Lifecycle::Ended);
                info!("shut down");
            });
        }
        // The sender is the hub's, so the channel stays open.
        let _ = self.lifecycle().wait_for(|stage| *stage == Lifecycle::Ended).await;
    }

    /// Ends the streams, then the threads, and makes the log durable.
    async fn drain(&self, window: Duration) {
        let node = self.inner();
        node.threads.may_end();
        node.lifecycle.send_replace(Lifecycle::Draining);
        info!(connections = node.subscribers.count(), ?window, "shutting down");
        self.end_streams(window.mul_f64(0.8)).await;
        node.publisher.close();
        let close = node.close.lock().take();
        if let Some(close) = close {
            // Other threads may wait for one that panicked.
            let is_late = async {
                node.threads.failed().await;
                tokio::time::sleep(CLOSE_PATIENCE).await;
            };
            tokio::select! {
                _ = tokio::task::spawn_blocking(close) => {}
                () = is_late => warn!("threads did not end in time after one had panicked"),
            }
        }
    }

    /// Ends every stream at a time of its own within `window`. Waits until all are closed or the window is over.
    async fn end_streams(&self, window: Duration) {
        let begun = Instant::now();
        let draw = |handle| (window.mul_f64(0.75 * rand::rng().random_range(0.0..1.0)), handle);
        let mut due: Vec<(Duration, Arc<ConnectionHandle>)> =
            self.inner().subscribers.all().into_iter().map(draw).collect();
        due.sort_by_key(|(at, _)| *at);
        for (at, handle) in due {
            tokio::time::sleep_until(begun + at).await;
            if let Some(ending) = self.shutdown_termination() {
                handle.end(ending);
            }
        }
        while self.inner().subscribers.count() > 0 && begun.elapsed() < window {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Clock and random numbers of the operating system.
struct SystemEnvironment;

impl Environment for SystemEnvironment {
    fn now(&self) -> Millis {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
    }

    fn random(&self) -> u64 {
        rand::rng().next_u64()
    }
}
