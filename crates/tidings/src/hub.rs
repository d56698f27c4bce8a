//! The hub: its routes and the host application publish, subscribe and read through it.

mod history;
mod subscribers;
mod threads;

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use rand::RngExt;
use tidings_log::{HistoryRange, Log, OpenError, OpenProgress};
use tidings_protocol::body::{EndReason, HistoryPage};
use tidings_protocol::{EventId, Subscription};
use tidings_sync::{Mutex, RwLock};
use tokio::{sync::watch, time::Instant};

pub use self::{history::HistoryRequest, threads::ThreadEnded};
pub(crate) use self::{history::iso_8601, subscribers::Subscribers, threads::ThreadRegistry};
use crate::auth::{Authorizer, Identity, SubscribePermit};
use crate::broker::{PublishOutcome, opened_soon};
use crate::config::{Settings, TlsSettings};
use crate::connection::driver::NewConnection;
use crate::connection::{
    ConnectionHandle, ConnectionId, OpenEvent, PositionStyle, Start, StreamOptions, StreamTimers, Termination,
};
use crate::error::{Code, Error};
use crate::limits::{self, ClientAddress, PermitHolder, TrustedProxies};
use crate::metrics::{LogGauges, Metrics};
use crate::publish::{Publication, Publisher};
use crate::transport::event_stream::EventBody;
use crate::transport::local::EventStream;
use crate::transport::socket::Backpressure;

/// Minimum reconnection time of a client. Each stream adds up to as much at random, so that clients do not reconnect at once.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// Time over which clients reconnect after a hub has shut down.
const RETRY_SPREAD: Duration = Duration::from_secs(4);

/// Handle to a running hub. Clones are cheap and refer to the same hub: a handler takes one as its state.
#[derive(Clone)]
pub struct Hub(Arc<HubInner>);

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("stage", &*self.0.lifecycle.borrow())
            .field("connections", &self.0.subscribers.count())
            .finish_non_exhaustive()
    }
}

/// Weak handle to a hub, for tasks that must not keep it alive.
#[derive(Clone)]
pub(crate) struct WeakHub(Weak<HubInner>);

/// Parts of a hub; `node` builds it and ends it.
pub(crate) struct HubInner {
    pub(crate) settings: Settings,
    /// Random name of the running node, which clients see.
    pub(crate) node_name: String,
    pub(crate) authorizer: Authorizer,
    pub(crate) log: Arc<Log>,
    pub(crate) subscribers: Arc<Subscribers>,
    pub(crate) connection_permits: Arc<limits::ConnectionLimits>,
    pub(crate) trusted_proxies: TrustedProxies,
    pub(crate) metrics: Arc<Metrics>,
    /// Threads and tasks of the hub.
    pub(crate) threads: Arc<ThreadRegistry>,
    pub(crate) publisher: Publisher,
    /// Certificate of new connections; `None` if the hub speaks plain HTTP.
    pub(crate) tls: Option<RwLock<Certificate>>,
    pub(crate) lifecycle: watch::Sender<Lifecycle>,
    /// End of `shutdown.window`; set before `lifecycle` becomes [`Lifecycle::Draining`].
    pub(crate) drain_deadline: OnceLock<Instant>,
    /// Whether the broker of the log can be reached.
    pub(crate) backend_health: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// Ends the threads and syncs the log; the first shutdown takes it.
    pub(crate) close: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

/// A certificate with its key, and their files.
pub(crate) struct Certificate {
    pub(crate) config: Arc<rustls::ServerConfig>,
    pub(crate) files: TlsSettings,
    /// Digest of the files' contents.
    pub(crate) digest: [u8; 32],
}

impl Drop for HubInner {
    /// Lets the threads of a dropped hub end.
    fn drop(&mut self) {
        self.threads.may_end();
    }
}

/// Stage of a hub's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lifecycle {
    /// The hub serves.
    Ready,
    /// The hub stores no new events of clients. It ends open streams, and new ones at once.
    Draining,
    /// The log is synced. The listeners close, and open connections are closed.
    Ended,
}

impl Hub {
    pub(crate) fn new(parts: HubInner) -> Self {
        Self(Arc::new(parts))
    }

    pub(crate) fn downgrade(&self) -> WeakHub {
        WeakHub(Arc::downgrade(&self.0))
    }

    pub(crate) fn inner(&self) -> &HubInner {
        &self.0
    }

    /// Returns the settings of the hub.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Publishes an event from within the process and waits until the event is stored.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tidings::Error> {
    /// use tidings::{Hub, Publication};
    ///
    /// let hub = Hub::builder().memory().build().await?;
    /// let event = Publication::new("orders.42".parse()?, r#"{"order":42}"#).event("shipped".parse()?);
    /// let published = hub.publish(event).await?;
    /// assert!(published.id().is_some());
    /// # hub.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`Error::code`]: `event_too_large`, `not_stored`, `outcome_unknown` and their like.
    pub async fn publish(&self, publication: Publication) -> Result<PublishOutcome, Error> {
        let message = publication.into_message();
        let message = self.0.publisher.check(message)?;
        let permit = self.0.authorizer.publish_host();
        let published = self.0.publisher.publish(&permit, vec![message]).await;
        let mut published = published.map_err(Error::alone)?;
        Ok(published.pop().expect("one message has one answer"))
    }

    /// Opens a stream of parsed events for code in this process.
    ///
    /// Subscriptions are names and patterns: texts, or `ChannelName`, `Pattern` and [`Subscription`] of
    /// [`protocol`](crate::protocol). While the hub shuts down, the stream ends at once with [`Delivery::End`](crate::Delivery).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tidings::Error> {
    /// use tidings::{Delivery, Hub, Publication, Start};
    ///
    /// let hub = Hub::builder().memory().build().await?;
    /// let mut events = hub.subscribe(["orders.*"], Start::Now)?;
    /// hub.publish(Publication::new("orders.42".parse()?, "shipped")).await?;
    /// match events.next().await {
    ///     Some(Delivery::Event(event)) => assert_eq!(event.data, "shipped"),
    ///     other => panic!("{other:?}"),
    /// }
    /// # hub.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - `bad_channel` and `reserved_channel` for a text outside the grammar,
    /// - `bad_query` for no subscription at all, `too_many_channels` for more than `limits.channels_per_connection`,
    /// - `connections_full` when too many streams are open.
    pub fn subscribe<S>(
        &self,
        subscriptions: impl IntoIterator<Item = S>,
        start: Start,
    ) -> Result<EventStream, Error>
    where
        S: TryInto<Subscription>,
        Error: From<S::Error>,
    {
        let options = StreamOptions { start, positions: PositionStyle::Event, open_event: false };
        self.body(subscriptions, &options).map(EventStream::new)
    }

    /// Opens a stream of events as an HTTP body, for a handler of the host application, which must authorize the client.
    ///
    /// The body is an axum response, too: if a handler returns it, the response has the headers of an event stream.
    ///
    /// # Errors
    /// As [`Hub::subscribe`].
    pub fn body<S>(
        &self,
        subscriptions: impl IntoIterator<Item = S>,
        options: &StreamOptions,
    ) -> Result<EventBody, Error>
    where
        S: TryInto<Subscription>,
        Error: From<S::Error>,
    {
        let subscriptions: Result<Vec<Subscription>, S::Error> =
            subscriptions.into_iter().map(TryInto::try_into).collect();
        let subscriptions = subscriptions?;
        if subscriptions.is_empty() {
            return Err(Error::new(Code::BadQuery, "no channel is subscribed to; name at least one"));
        }
        let permit = self.0.authorizer.subscribe_host(subscriptions)?;
        let opened = self.open(&permit, options, None, false)?;
        Ok(self.stream(opened, None))
    }

    /// Reads stored events of one channel, oldest first, from within the process.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tidings::Error> {
    /// use tidings::{HistoryRequest, Hub, Publication};
    ///
    /// let hub = Hub::builder().memory().build().await?;
    /// for step in ["packed", "shipped"] {
    ///     hub.publish(Publication::new("orders.42".parse()?, step)).await?;
    /// }
    /// let page = hub.history(HistoryRequest::new("orders.42".parse()?).limit(1)).await?;
    /// assert_eq!(page.events[0].data, "packed");
    /// let next = page.next.expect("there is more");
    /// let page = hub.history(HistoryRequest::new("orders.42".parse()?).after(next)).await?;
    /// assert_eq!((page.events[0].data.as_str(), page.next), ("shipped", None));
    /// # hub.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - `bad_query` for a limit outside its bounds,
    /// - `unavailable` while the broker of the log cannot be reached, or if the log does not open within 5 s.
    pub async fn history(&self, request: HistoryRequest) -> Result<HistoryPage, Error> {
        let channel = Subscription::from(&request.channel);
        let permit = self.0.authorizer.subscribe_host(vec![channel])?;
        self.history_permitted(&permit, request.range()?).await
    }

    pub(crate) fn authorizer(&self) -> &Authorizer {
        &self.0.authorizer
    }

    pub(crate) fn publisher(&self) -> &Publisher {
        &self.0.publisher
    }

    /// Makes an HTTP body of a connection. `pressure` is the back-pressure of its socket, if the hub knows it.
    pub(crate) fn stream(&self, opened: NewConnection, pressure: Option<Arc<Backpressure>>) -> EventBody {
        EventBody::new(opened, pressure)
    }

    /// Opens a connection. It counts against the limits of `address`; `is_pushed` says that a shard will own it.
    pub(crate) fn open(
        &self,
        permit: &SubscribePermit,
        options: &StreamOptions,
        address: Option<ClientAddress>,
        is_pushed: bool,
    ) -> Result<NewConnection, Error> {
        let node = &self.0;
        let identity = permit.identity();
        let connection_permit = if self.is_draining() {
            // The stream ends at once. An `EventSource` would not reconnect after an error response.
            node.connection_permits.acquire_beyond_limits()
        } else {
            node.connection_permits.acquire(PermitHolder { user: identity.user().cloned(), address })?
        };
        let mut random = rand::rng();
        let id = ConnectionId(random.random());
        let handle = ConnectionHandle::new(id, permit, is_pushed);
        let connection = node.subscribers.open_connection(
            &node.log,
            &node.metrics,
            connection_permit,
            handle.clone(),
            options,
        );
        // A reauthorization that ran before the handle was registered has missed it.
        if let Err(reason) = node.authorizer.reauthorize_new(identity, permit.subscriptions()) {
            handle.end(Termination::of_rights(reason));
        }
        // A shutdown that began before the handle was registered has missed it, too.
        if let Some(ending) = self.shutdown_termination() {
            handle.end(ending);
        }
        let stream = &node.settings.stream;
        let timers = StreamTimers {
            // Jitter shortens: no client waits longer than the setting says.
            keep_alive: stream.keep_alive.mul_f64(random.random_range(0.8..1.0)),
            time_left: node.authorizer.time_left(identity),
            max_age: stream.max_age.map(|age| age.mul_f64(random.random_range(0.9..1.0))),
            retry: RETRY + RETRY.mul_f64(random.random_range(0.0..1.0)),
        };
        node.metrics.connections.streams_opened.inc();
        let open_event = options.open_event.then(|| self.open_event(identity));
        Ok(NewConnection { connection, timers, open_event })
    }

    fn open_event(&self, identity: &Identity) -> OpenEvent {
        let node = &self.0;
        let seconds = node.settings.stream.keep_alive.as_secs_f64();
        let fraction = || serde_json::Number::from_f64(seconds).expect("a duration is finite");
        OpenEvent {
            now: iso_8601(node.log.own_now()),
            keep_alive: if seconds.fract() == 0.0 { (seconds as u64).into() } else { fraction() },
            node: node.node_name.clone(),
            expires_at: node.authorizer.expires_at(identity).map(iso_8601),
        }
    }

    /// Reads stored events of the channel of `permit`.
    ///
    /// # Errors
    /// As [`Hub::history`].
    pub(crate) async fn history_permitted(
        &self,
        permit: &SubscribePermit,
        range: HistoryRange,
    ) -> Result<HistoryPage, Error> {
        opened_soon(&self.0.log).await.map_err(|opening| unopened(&opening))?;
        if !self.0.log.barriers().is_synced() {
            let detail = "Redis, which has the log, does not answer this node, so the newest events may be missing here; try again, or ask another node";
            return Err(Error::new(Code::Unavailable, detail).retry_after(Duration::from_secs(1)));
        }
        let log = self.0.log.clone();
        let permit = permit.clone();
        let reading = tokio::task::spawn_blocking(move || history::read(&log, &permit, &range));
        let page = reading
            .await
            .map_err(|error| Error::new(Code::Internal, "reading the log panicked").caused_by(error))?;
        if self.0.log.is_half_changed() {
            let detail = "the log cannot be read after a fault of the hub; the hub must be started again";
            return Err(Error::new(Code::Unavailable, detail).retry_after(Duration::from_secs(1)));
        }
        Ok(page)
    }

    /// Returns the number of connections of each subscription.
    #[must_use]
    pub fn channels(&self) -> Vec<(String, usize)> {
        self.0.subscribers.subscriptions(&|_| true).into_iter().collect()
    }

    /// Returns [`Hub::channels`]. An identity without the right to manage the hub sees its own connections only.
    pub(crate) fn channels_of(&self, identity: &Identity) -> Vec<(String, usize)> {
        if self.0.authorizer.manage(identity).is_ok() {
            return self.channels();
        }
        let is_own = |handle: &ConnectionHandle| identity.is_owner_of(handle.identity().principal());
        self.0.subscribers.subscriptions(&is_own).into_iter().collect()
    }

    /// Whether the hub shuts down.
    pub(crate) fn is_draining(&self) -> bool {
        self.0.drain_deadline.get().is_some()
    }

    /// Returns the time left of `shutdown.window`; `None` while the hub serves.
    pub(crate) fn drain_time_left(&self) -> Option<Duration> {
        self.0.drain_deadline.get().map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Returns the end of streams while the hub shuts down; `None` while the hub serves.
    ///
    /// Its reconnection time is after the window, and random for each stream.
    pub(crate) fn shutdown_termination(&self) -> Option<Termination> {
        let left = self.drain_time_left()?;
        let retry = left.max(RETRY) + RETRY_SPREAD.mul_f64(rand::rng().random_range(0.0..1.0));
        Some(Termination { reason: EndReason::Shutdown, reconnect: true, retry: Some(retry) })
    }

    pub(crate) fn trusted_proxies(&self) -> &TrustedProxies {
        &self.0.trusted_proxies
    }

    /// Whether the hub can serve; `Err` has the reason why not.
    ///
    /// # Errors
    /// - Until the log is open,
    /// - while the hub shuts down, or the log cannot be written,
    /// - once a thread has ended before the hub.
    pub fn readiness(&self) -> Result<(), Error> {
        if let Some(ended) = self.0.threads.first() {
            // The panic's message is for the log only: any client may read the readiness.
            let detail =
                format!("thread {} ended, so the hub shuts down; it must be started again", ended.name());
            return Err(Error::new(Code::Unavailable, detail).retry_after(Duration::from_secs(1)));
        }
        if self.is_draining() {
            return Err(shutting_down());
        }
        if !self.0.log.opening().is_open() {
            return Err(unopened(&self.0.log.opening().progress()));
        }
        (self.0.backend_health)().map_err(|why| Error::new(Code::Unavailable, why))?;
        self.0.log.writable().map_err(|error| Error::new(Code::Unavailable, error.to_string()))
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// Returns all metrics in the text format of Prometheus.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        let usage = self.0.log.usage();
        let log = LogGauges {
            head: usage.head,
            bytes: usage.bytes,
            disk_bytes: usage.disk_bytes,
            cache_bytes: usage.cache_bytes,
            chunk_cache_bytes: usage.chunk_cache_bytes,
            channels: usage.channels,
            idempotency_keys: usage.idempotency_keys,
        };
        self.0.metrics.text(self.0.subscribers.count() as u64, log)
    }

    /// Waits until the log is open; see [`HubBuilder::start`](crate::HubBuilder::start).
    ///
    /// # Errors
    /// If the log cannot be opened. The hub then shuts down by itself.
    pub async fn opened(&self) -> Result<(), Error> {
        self.0.log.opening().wait().await.map_err(cannot_open)
    }

    /// Fails if the log could not be opened. A hub that ended before the log was open is no error.
    pub(crate) fn check_opened(&self) -> Result<(), Error> {
        match self.0.log.opening().progress() {
            OpenProgress::Failed(error) if !matches!(*error, OpenError::Ended) => Err(cannot_open(error)),
            _ => Ok(()),
        }
    }

    /// Returns the id of the newest entry; the id before all entries until the log is open.
    #[must_use]
    pub fn head(&self) -> EventId {
        self.0.log.head()
    }

    /// Waits until the hub has ended, by [`Hub::shutdown`] or because one of its threads or tasks ended before it.
    ///
    /// The hub shuts down by itself if a thread or task ends. Clients of its streams reconnect within 2 s, and
    /// [`Hub::readiness`] fails from then on. The host application should restart its process.
    ///
    /// # Errors
    /// If a thread or task ended before the hub; the error has its name.
    pub async fn closed(&self) -> Result<(), ThreadEnded> {
        // The hub owns the sender, so the channel stays open.
        let _ = self.lifecycle().wait_for(|stage| *stage == Lifecycle::Ended).await;
        self.0.threads.first().map_or(Ok(()), Err)
    }

    pub(crate) fn lifecycle(&self) -> watch::Receiver<Lifecycle> {
        self.0.lifecycle.subscribe()
    }
}

impl WeakHub {
    pub(crate) fn upgrade(&self) -> Option<Hub> {
        self.0.upgrade().map(Hub)
    }
}

fn cannot_open(error: Arc<OpenError>) -> Error {
    Error::new(Code::Unavailable, error.to_string()).caused_by(error)
}

fn unopened(opening: &OpenProgress) -> Error {
    Error::new(Code::Unavailable, opening.to_string()).retry_after(Duration::from_secs(1))
}

fn shutting_down() -> Error {
    Error::new(Code::ShuttingDown, "the hub is shutting down; come back in a moment, or go to another node")
        .retry_after(Duration::from_secs(1))
}
