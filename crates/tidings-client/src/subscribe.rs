//! A subscription: one stream after the other, resumed from the last id, told as one sequence of deliveries.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use serde::de::DeserializeOwned;
use tidings_protocol::body::EndNotice;
use tidings_protocol::sse::{MessageEvent, Parser, StreamItem};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::backoff::Backoff;
use crate::stream_request::{StreamRequest, SubscribeRoute};
use crate::transport::Exchange;
use crate::{Client, Error, ErrorKind, Event, Notification, Reconnecting};

/// A subscription before it is opened.
#[derive(Clone, Debug)]
#[must_use = "nothing is subscribed to until `start`"]
pub struct SubscribeRequest {
    client: Client,
    subscriptions: Vec<String>,
    last_event_id: String,
    history: Option<String>,
}

impl SubscribeRequest {
    pub(crate) fn new(client: Client, subscriptions: Vec<String>) -> Self {
        Self { client, subscriptions, last_event_id: String::new(), history: None }
    }

    /// Resumes after this id. Default: none, so the stream starts at now.
    pub fn last_event_id(mut self, id: impl Into<String>) -> Self {
        self.last_event_id = id.into();
        self
    }

    /// First replays up to so many stored events, in all. An id wins over it. Default: none.
    pub fn history(mut self, events: u64) -> Self {
        self.history = Some(events.to_string());
        self
    }

    /// First replays everything that is kept. An id wins over it. Default: none.
    pub fn history_all(mut self) -> Self {
        self.history = Some("all".to_owned());
        self
    }

    /// Begins the subscription. It connects when [`Subscriber::next`] is first awaited; a fault of the
    /// arguments is told there, too.
    pub fn start(self) -> Subscriber {
        let mut queue = VecDeque::new();
        let mut state = SubscriberState::Due(Instant::now());
        let route = SubscribeRoute::of(self.subscriptions).unwrap_or_else(|fault| {
            queue.push_back(QueuedItem::Notification(Err(fault)));
            state = SubscriberState::Ended;
            SubscribeRoute::Body(Vec::new())
        });
        Subscriber {
            client: self.client,
            route,
            history: self.history,
            last_event_id: self.last_event_id,
            backoff: Backoff::new(),
            queue,
            state,
            alarm: DeadlineTimer::default(),
        }
    }
}

/// An open subscription, as a [`Stream`] of deliveries. Dropping it closes the connection.
///
/// It keeps the last id that it has handed out and resumes from it, however often the stream breaks; it waits
/// between attempts, and takes a stream for dead that is silent for [`crate::ClientBuilder::idle_timeout`].
#[must_use = "a subscription connects when `next` is awaited"]
pub struct Subscriber {
    client: Client,
    route: SubscribeRoute,
    /// The value of `history`, sent while no id is known.
    history: Option<String>,
    /// What the caller has taken, not what was read: a resume repeats nothing and skips nothing.
    last_event_id: String,
    backoff: Backoff,
    /// Items that are read and not yet taken; bounded by one chunk of the body.
    queue: VecDeque<QueuedItem>,
    state: SubscriberState,
    alarm: DeadlineTimer,
}

enum QueuedItem {
    Item(StreamItem),
    Notification(Result<Notification, Error>),
}

enum SubscriberState {
    /// The next attempt is due then.
    Due(Instant),
    /// Kept here rather than in `next`, so that `next` may be dropped at any time.
    Opening {
        answer: Pin<Box<dyn Future<Output = Result<Exchange, Error>> + Send>>,
        since: Instant,
    },
    Open(Box<OpenStream>),
    Ended,
}

/// One stream that is being read.
struct OpenStream {
    exchange: Exchange,
    parser: Parser,
    /// When its head or its last byte came.
    heard_at: Instant,
}

/// The timer of a subscription, for one moment at a time.
#[derive(Default)]
struct DeadlineTimer(Option<Pin<Box<Sleep>>>);

impl DeadlineTimer {
    /// Waits until `at`; another moment takes the place of the one before.
    fn poll_at(&mut self, at: Instant, context: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() != at {
            sleep.as_mut().reset(at);
        }
        sleep.as_mut().poll(context)
    }
}

/// The same deliveries as those of [`Subscriber::next`].
impl Stream for Subscriber {
    type Item = Result<Notification, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_delivery(context)
    }
}

impl std::fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscriber")
            .field("route", &self.route)
            .field("last_event_id", &self.last_event_id)
            .finish_non_exhaustive()
    }
}

impl Subscriber {
    /// The next delivery. `None` once the subscription is over: after an error, after an end without
    /// `reconnect`, or when the hub has nothing more to say (204). Cancel safe.
    ///
    /// # Errors
    /// What a further attempt cannot mend, and only that: [`ErrorKind::Input`]; [`ErrorKind::Refused`] (other
    /// 4xx than 429); [`ErrorKind::Protocol`] where something else than a hub answers; [`ErrorKind::TooLarge`]
    /// for an event beyond [`crate::ClientBuilder::event_bytes_max`]. Afterwards the subscription is over;
    /// [`Subscriber::last_event_id`] still says where to resume.
    pub async fn next(&mut self) -> Option<Result<Notification, Error>> {
        poll_fn(|context| self.poll_delivery(context)).await
    }

    fn poll_delivery(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Notification, Error>>> {
        let idle_timeout = self.client.settings().idle_timeout;
        loop {
            while let Some(queued) = self.queue.pop_front() {
                let delivery = match queued {
                    QueuedItem::Item(item) => self.take(item),
                    QueuedItem::Notification(delivery) => Some(delivery),
                };
                if delivery.is_some() {
                    return Poll::Ready(delivery);
                }
            }
            match &mut self.state {
                SubscriberState::Ended => return Poll::Ready(None),
                SubscriberState::Due(at) => {
                    ready!(self.alarm.poll_at(*at, context));
                    self.connect();
                }
                SubscriberState::Opening { answer, since } => {
                    let Poll::Ready(answer) = answer.as_mut().poll(context) else {
                        ready!(self.alarm.poll_at(*since + idle_timeout, context));
                        let text = format!("no answer of {} within {idle_timeout:?}", self.client.base());
                        self.answered(Err(Error::new(ErrorKind::Interrupted, text)));
                        continue;
                    };
                    self.answered(answer);
                }
                SubscriberState::Open(stream) => {
                    let Poll::Ready(chunk) = stream.exchange.poll_chunk(context) else {
                        ready!(self.alarm.poll_at(stream.heard_at + idle_timeout, context));
                        self.lost(format!("stream was silent for {idle_timeout:?}"), None);
                        continue;
                    };
                    match chunk {
                        Ok(Some(bytes)) => self.read(&bytes),
                        Ok(None) => self.lost("hub closed the stream".to_owned(), None),
                        Err(fault) => self.lost(fault.to_string(), None),
                    }
                }
            }
        }
    }

    /// The id that a resume would start from: that of what [`Subscriber::next`] returned last. Empty if none.
    #[must_use]
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    fn connect(&mut self) {
        let (client, id) = (self.client.clone(), self.last_event_id.clone());
        let StreamRequest { method, path, body } =
            self.route.ask(self.history.as_deref().filter(|_| id.is_empty()));
        let answer = Box::pin(async move {
            let mut headers = vec![("accept", "text/event-stream"), ("cache-control", "no-cache")];
            if !id.is_empty() {
                headers.push(("last-event-id", id.as_str()));
            }
            if !body.is_empty() {
                headers.push(("content-type", "application/json"));
            }
            let exchange = client.open(method, &path, &headers, body).await?;
            if matches!(exchange.status(), 200 | 204) { Ok(exchange) } else { Err(exchange.refusal().await) }
        });
        self.state = SubscriberState::Opening { answer, since: Instant::now() };
    }

    /// Looks at the head of an answer: the end, a stream, a fault that passes, or one for good.
    fn answered(&mut self, answer: Result<Exchange, Error>) {
        let checked = answer.and_then(|exchange| match exchange.status() {
            204 => Ok(None),
            _ => check_content_type(&exchange).map(|()| Some(exchange)),
        });
        match checked {
            Ok(None) => self.state = SubscriberState::Ended,
            Ok(Some(exchange)) => self.open(exchange),
            Err(fault) if fault.is_passing() => self.lost(fault.to_string(), fault.retry_after()),
            Err(fault) => self.fail(fault),
        }
    }

    fn open(&mut self, exchange: Exchange) {
        let bound = self.client.settings().event_bytes_max;
        let parser = Parser::with_event_bytes_max(bound).with_last_event_id(&self.last_event_id);
        self.state =
            SubscriberState::Open(Box::new(OpenStream { exchange, parser, heard_at: Instant::now() }));
    }

    fn read(&mut self, bytes: &[u8]) {
        let SubscriberState::Open(stream) = &mut self.state else { return };
        stream.heard_at = Instant::now();
        let queue = &mut self.queue;
        let fed = stream.parser.feed(bytes, &mut |item| queue.push_back(QueuedItem::Item(item)));
        if let Err(fault) = fed {
            let bound = fault.event_bytes_max;
            let text = format!("event in the stream is larger than {bound} bytes; raise `event_bytes_max`");
            self.fail(Error::new(ErrorKind::TooLarge, text).with_source(fault));
        }
    }

    /// Ends the stream and plans the next attempt.
    fn lost(&mut self, reason: String, retry_after: Option<Duration>) {
        let after = self.backoff.failed(retry_after);
        tracing::debug!(%reason, ?after, "subscription reconnects");
        self.state = SubscriberState::Due(Instant::now() + after);
        self.queue.push_back(QueuedItem::Notification(Ok(Notification::Reconnecting(Reconnecting {
            reason,
            after,
        }))));
    }

    /// Ends the subscription with an error, after what was read before it.
    fn fail(&mut self, fault: Error) {
        self.state = SubscriberState::Ended;
        self.queue.push_back(QueuedItem::Notification(Err(fault)));
    }

    /// Turns what was read into what is delivered, and moves the last id.
    fn take(&mut self, item: StreamItem) -> Option<Result<Notification, Error>> {
        match item {
            StreamItem::Comment(_) => None,
            StreamItem::Retry(delay_ms) => {
                self.backoff.rebase(Duration::from_millis(delay_ms));
                None
            }
            StreamItem::Position(id) => {
                self.moved(id.clone());
                Some(Ok(Notification::Position(id)))
            }
            StreamItem::Event(event) => self.take_event(event),
        }
    }

    fn take_event(&mut self, event: MessageEvent) -> Option<Result<Notification, Error>> {
        let MessageEvent { name, data, last_event_id: id } = event;
        let delivery = match name.as_str() {
            "tidings.gap" => notice(&name, &data).map(Notification::Gap),
            "tidings.end" => notice(&name, &data).map(Notification::End),
            "tidings.position" => Ok(Notification::Position(id.clone())),
            reserved if reserved.starts_with("tidings.") => {
                self.moved(id);
                return None;
            }
            _ => {
                let id = (!id.is_empty()).then(|| id.clone());
                Ok(Notification::Event(Event { name, data, id }))
            }
        };
        match delivery {
            Ok(Notification::End(end)) => {
                self.moved(id);
                self.ended(&end);
                Some(Ok(Notification::End(end)))
            }
            Ok(delivery) => {
                self.moved(id);
                Some(Ok(delivery))
            }
            // The id stays before a notice that cannot be read, so that a later reader is told again.
            Err(fault) => {
                self.queue.clear();
                self.state = SubscriberState::Ended;
                Some(Err(fault))
            }
        }
    }

    /// The hub closes the stream after this notice, and nothing of it counts any more.
    fn ended(&mut self, end: &EndNotice) {
        self.queue.clear();
        if end.reconnect {
            self.lost(format!("hub ended the stream: {}", end.reason.as_str()), None);
        } else {
            self.state = SubscriberState::Ended;
        }
    }

    fn moved(&mut self, id: String) {
        self.last_event_id = id;
        self.backoff.succeeded();
    }
}

fn notice<N: DeserializeOwned>(name: &str, data: &str) -> Result<N, Error> {
    serde_json::from_str(data).map_err(|fault| {
        let text = format!("{name} cannot be read: {fault}; is this client older than the hub?");
        Error::new(ErrorKind::Protocol, text).with_source(fault)
    })
}

fn check_content_type(exchange: &Exchange) -> Result<(), Error> {
    let found = exchange.header("content-type").unwrap_or_default();
    let essence = found.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("text/event-stream") {
        let text = format!(
            "answer is `{found}`, not text/event-stream; a proxy or another server answers in the hub's place"
        );
        return Err(Error::new(ErrorKind::Protocol, text));
    }
    match exchange.header("content-encoding") {
        None => Ok(()),
        Some(encoding) if encoding.eq_ignore_ascii_case("identity") => Ok(()),
        Some(encoding) => {
            let text = format!("stream is compressed as `{encoding}`; switch that off in the proxy");
            Err(Error::new(ErrorKind::Protocol, text))
        }
    }
}
