//! The hub: the one door through which everything else publishes, subscribes and reads.

mod history;
mod subscribers;
mod threads;

use std::{
    fmt,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use rand::RngExt;
use tidings_protocol::{
    EventId, Subscription,
    body::{EndReason, HistoryPage, PublishMessage},
};
use tokio::{sync::watch, time::Instant};

pub use self::{history::HistoryRequest, threads::ThreadEnded};
pub(crate) use self::{history::iso_8601, subscribers::Subscribers, threads::ThreadRegistry};
use crate::{
    auth::{Authorizer, Identity, PublishPermit, SubscribePermit},
    broker::{self, PublishOutcome},
    config::{Settings, TlsSettings},
    connection::{
        ConnectionHandle, ConnectionId, NewConnection, OpenEvent, PositionStyle, Start, StreamOptions,
        StreamTimers, Termination,
    },
    error::{Code, Error},
    limits::{self, ClientAddress, PermitHolder, TrustedProxies},
    log::{Log, history::HistoryRange, open::OpenProgress, store::disk::OpenError},
    metrics::{LogGauges, Metrics},
    publish::{CheckedMessage, Publication, Publisher},
    sync::{Mutex, RwLock},
    transport::{event_stream::EventBody, local::EventStream, socket::Backpressure},
};

/// What a client waits before it comes back, at least; each stream draws as much again, so that not all come at once.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// Clients of a hub that shuts down come back spread over so long.
const RETRY_SPREAD: Duration = Duration::from_secs(4);

/// A running hub. Clones are the same hub, and cheap: a handler takes one as its state.
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

/// A hub that may have gone: what looks after a hub must not keep it.
#[derive(Clone)]
pub(crate) struct WeakHub(Weak<HubInner>);

/// What a hub is made of; `node` builds it and ends it.
pub(crate) struct HubInner {
    pub(crate) settings: Settings,
    /// Names the running node to clients; drawn at its start.
    pub(crate) node_name: String,
    pub(crate) authorizer: Authorizer,
    pub(crate) log: Arc<Log>,
    pub(crate) subscribers: Arc<Subscribers>,
    pub(crate) connection_permits: Arc<limits::ConnectionLimits>,
    pub(crate) trusted_proxies: TrustedProxies,
    pub(crate) metrics: Arc<Metrics>,
    /// Which threads and tasks ended before the hub.
    pub(crate) threads: Arc<ThreadRegistry>,
    pub(crate) publisher: Publisher,
    /// What new connections are greeted with; none where the hub speaks plain HTTP.
    pub(crate) tls: Option<RwLock<Certificate>>,
    pub(crate) lifecycle: watch::Sender<Lifecycle>,
    /// The end of `shutdown.window`; set before the stage says that the hub shuts down.
    pub(crate) drain_deadline: OnceLock<Instant>,
    /// Whether what orders the log can be reached.
    pub(crate) backend_health: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// Ends the threads and makes the log safe; taken by the one who shuts down.
    pub(crate) close: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

/// A certificate with its key, and where both came from.
pub(crate) struct Certificate {
    pub(crate) config: Arc<rustls::ServerConfig>,
    pub(crate) files: TlsSettings,
    /// Of what the files held.
    pub(crate) digest: [u8; 32],
}

impl Drop for HubInner {
    /// A hub that is dropped lets go of its threads.
    fn drop(&mut self) {
        self.threads.may_end();
    }
}

/// How far a hub is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lifecycle {
    /// It serves.
    Ready,
    /// It stores nothing new for clients. Open streams are being ended, and new ones end at once.
    Draining,
    /// The log is safe. The listeners close, and whatever is still open is cut.
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

    /// The settings that it runs with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Publishes an event from within the process and waits until it is kept.
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
    /// [`protocol`](crate::protocol). While the hub shuts down, the stream says so and ends at once.
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

    /// Opens a stream of events as an HTTP body, for a handler of your own that has asked who may read it.
    ///
    /// The body is an axum answer, too: returned by a handler it has the headers of an event stream.
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
    /// `bad_query` for a limit outside its bounds; `unavailable` while the log is a broker's that cannot be reached, and where it is
    /// not open within 5 s.
    pub async fn history(&self, request: HistoryRequest) -> Result<HistoryPage, Error> {
        let channel = Subscription::from(&request.channel);
        let permit = self.0.authorizer.subscribe_host(vec![channel])?;
        self.history_permitted(&permit, request.wanted()?).await
    }

    pub(crate) fn authorizer(&self) -> &Authorizer {
        &self.0.authorizer
    }

    /// Holds a message against the limits, before leave to publish it is asked for.
    pub(crate) fn check_message(&self, message: PublishMessage) -> Result<CheckedMessage, Error> {
        self.0.publisher.check(message)
    }

    pub(crate) async fn publish_permitted(
        &self,
        permit: &PublishPermit,
        messages: Vec<CheckedMessage>,
    ) -> Result<Vec<PublishOutcome>, Error> {
        if let Some(left) = self.drain_time_left() {
            return Err(broker::shutting_down().retry_after(left));
        }
        self.0.publisher.publish(permit, messages).await
    }

    /// Makes an HTTP body of a connection; `pressure` is that of the socket that it will be sent over.
    pub(crate) fn stream(&self, opened: NewConnection, pressure: Option<Arc<Backpressure>>) -> EventBody {
        EventBody::new(opened, self.0.metrics.clone(), pressure)
    }

    /// Opens a connection to somebody, who counts for a place among the streams of an address. `is_fed` says that a shard
    /// will have it.
    pub(crate) fn open(
        &self,
        permit: &SubscribePermit,
        options: &StreamOptions,
        place: Option<ClientAddress>,
        is_fed: bool,
    ) -> Result<NewConnection, Error> {
        let node = &self.0;
        let identity = permit.identity();
        let slot = if self.is_draining() {
            // It ends at once: a refusal would be final for an `EventSource`.
            node.connection_permits.acquire_beyond_limits()
        } else {
            node.connection_permits
                .acquire(PermitHolder { user: identity.user().cloned(), address: place })?
        };
        let mut random = rand::rng();
        let id = ConnectionId(random.random());
        let handle = ConnectionHandle::new(id, permit, is_fed);
        let connection =
            node.subscribers.open_connection(&node.log, &node.metrics, slot, handle.clone(), options);
        // Whoever looked over the seats while this one was not yet among them has missed it.
        if let Err(reason) = node.authorizer.reauthorize_new(identity, permit.subscriptions()) {
            handle.end(Termination::of_rights(reason));
        }
        // For the same reason the hub's own end is looked for only now.
        if let Some(ending) = self.shutdown_termination() {
            handle.end(ending);
        }
        let stream = &node.settings.stream;
        let times = StreamTimers {
            // Jitter shortens: nobody waits longer than was promised.
            keep_alive: stream.keep_alive.mul_f64(random.random_range(0.8..1.0)),
            time_left: node.authorizer.time_left(identity),
            max_age: stream.max_age.map(|age| age.mul_f64(random.random_range(0.9..1.0))),
            retry: RETRY + RETRY.mul_f64(random.random_range(0.0..1.0)),
        };
        node.metrics.connections.stream_opened();
        Ok(NewConnection {
            connection,
            times,
            greeting: options.open_event.then(|| self.open_event(identity)),
        })
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

    /// Reads stored events of one channel, which the permit is for.
    ///
    /// # Errors
    /// As [`Hub::history`].
    pub(crate) async fn history_permitted(
        &self,
        permit: &SubscribePermit,
        wanted: HistoryRange,
    ) -> Result<HistoryPage, Error> {
        self.0.log.opened_soon().await.map_err(|opening| unopened(&opening))?;
        if !self.0.log.is_synced() {
            let detail = "Redis, which has the log, does not answer this node, so the newest events may be missing here; try again, or ask another node";
            return Err(Error::new(Code::Unavailable, detail).retry_after(Duration::from_secs(1)));
        }
        let log = self.0.log.clone();
        let permit = permit.clone();
        let reading = tokio::task::spawn_blocking(move || history::read(&log, &permit, &wanted));
        let page = reading
            .await
            .map_err(|error| Error::new(Code::Internal, "reading the log panicked").caused_by(error))?;
        if self.0.log.is_half_changed() {
            let detail = "the log cannot be read after a fault of the hub; the hub must be started again";
            return Err(Error::new(Code::Unavailable, detail).retry_after(Duration::from_secs(1)));
        }
        Ok(page)
    }

    /// How many connections each channel or pattern has, as it was asked for.
    #[must_use]
    pub fn channels(&self) -> Vec<(String, usize)> {
        self.0.subscribers.subscriptions(&|_| true).into_iter().collect()
    }

    /// As [`Hub::channels`]; those who do not manage the hub see their own connections only.
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

    /// Time left of `shutdown.window`; none while the hub serves.
    fn drain_time_left(&self) -> Option<Duration> {
        self.0.drain_deadline.get().map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// How a stream ends while the hub shuts down; none while the hub serves. The client comes back after the window, at a
    /// time of its own.
    pub(crate) fn shutdown_termination(&self) -> Option<Termination> {
        let left = self.drain_time_left()?;
        let retry = left.max(RETRY) + RETRY_SPREAD.mul_f64(rand::rng().random_range(0.0..1.0));
        Some(Termination { reason: EndReason::Shutdown, reconnect: true, retry: Some(retry) })
    }

    pub(crate) fn trusted_proxies(&self) -> &TrustedProxies {
        &self.0.trusted_proxies
    }

    /// Whether it can serve: `Err` says why not.
    ///
    /// # Errors
    /// Until the log is open, while the hub shuts down, while the log cannot be written, or once a thread has ended before the
    /// hub.
    pub fn readiness(&self) -> Result<(), Error> {
        if let Some(ended) = self.0.threads.first() {
            // The panic's message is for the log: everyone may ask whether a hub is ready.
            let detail =
                format!("thread {} ended, so the hub shuts down; it must be started again", ended.name());
            return Err(Error::new(Code::Unavailable, detail).retry_after(Duration::from_secs(1)));
        }
        if self.is_draining() {
            return Err(shutting_down());
        }
        if !self.0.log.is_open() {
            return Err(unopened(&self.0.log.opening()));
        }
        (self.0.backend_health)().map_err(|why| Error::new(Code::Unavailable, why))?;
        self.0.log.writable().map_err(|error| Error::new(Code::Unavailable, error.to_string()))
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// All metrics in the text format of Prometheus.
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
    /// Why it cannot be opened. The hub then shuts down by itself.
    pub async fn opened(&self) -> Result<(), Error> {
        self.0.log.opened().await.map_err(cannot_open)
    }

    /// Whether the log could be opened, or was not read to its end since the hub ended.
    pub(crate) fn check_opened(&self) -> Result<(), Error> {
        match self.0.log.opening() {
            OpenProgress::Failed(error) if !matches!(*error, OpenError::Ended) => Err(cannot_open(error)),
            _ => Ok(()),
        }
    }

    /// The newest place in the log; the place before everything until the log is open.
    #[must_use]
    pub fn head(&self) -> EventId {
        self.0.log.head()
    }

    /// Waits until the hub has ended, by [`Hub::shutdown`] or because one of its threads or tasks ended before it.
    ///
    /// The hub shuts down by itself after such an end. Streams are told to come back within 2 s at most; [`Hub::readiness`] is
    /// an error from the first moment on. A process that embeds the hub should then start again.
    ///
    /// # Errors
    /// Names the thread or task that ended before the hub.
    pub async fn closed(&self) -> Result<(), ThreadEnded> {
        // The sender is the hub's, so the channel stays open.
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
