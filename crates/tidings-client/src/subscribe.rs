//! A subscriber: successive streams, each resumed from the last id, as one sequence of notifications.

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
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::notification::{Event, Notification, Reconnecting};
use crate::stream_request::{RoutedRequest, SubscribeRoute};
use crate::transport::Exchange;

/// A subscription before it is opened.
#[derive(Clone, Debug)]
#[must_use = "nothing is subscribed to until `start`"]
pub struct SubscribeRequest {
    client: Client,
    subscriptions: Vec<String>,
    last_event_id: String,
    history: Option<String>,
}

impl Client {
    /// Begins a subscription to channels and patterns; [`SubscribeRequest::start`] opens it. If the channels do not fit a
    /// URL of 2 KiB, the request sends them in a body.
    pub fn subscribe<S: Into<String>>(&self, subscriptions: impl IntoIterator<Item = S>) -> SubscribeRequest {
        SubscribeRequest {
            client: self.clone(),
            subscriptions: subscriptions.into_iter().map(Into::into).collect(),
            last_event_id: String::new(),
            history: None,
        }
    }
}

impl SubscribeRequest {
    /// Resumes after this id. Default: none, so that the stream begins with the next event.
    pub fn last_event_id(mut self, id: impl Into<String>) -> Self {
        self.last_event_id = id.into();
        self
    }

    /// Replays up to so many stored events first, over all channels. An id takes precedence. Default: none.
    pub fn history(mut self, events: u64) -> Self {
        self.history = Some(events.to_string());
        self
    }

    /// Replays every stored event first. An id takes precedence. Default: none.
    pub fn history_all(mut self) -> Self {
        self.history = Some("all".to_owned());
        self
    }

    /// Starts the subscriber. It connects when [`Subscriber::next`] is first awaited, which also returns an error of the
    /// arguments.
    pub fn start(self) -> Subscriber {
        let mut queue = VecDeque::new();
        let mut state = SubscriberState::Due(Instant::now());
        let route = SubscribeRoute::of(self.subscriptions).unwrap_or_else(|error| {
            queue.push_back(QueuedItem::Notification(Err(error)));
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
            timer: DeadlineTimer::default(),
        }
    }
}

/// An open subscription, as a [`Stream`] of notifications. Dropping it closes the connection.
///
/// It keeps the last id that it has returned, and resumes from it each time the stream breaks. It waits between attempts.
/// A stream that is silent for [`crate::ClientBuilder::idle_timeout`] counts as broken.
#[must_use = "a subscriber connects when `next` is awaited"]
pub struct Subscriber {
    client: Client,
    route: SubscribeRoute,
    /// The value of `history`, sent until an id is known.
    history: Option<String>,
    /// The id of the last notification that was returned: a resume neither repeats nor skips one.
    last_event_id: String,
    backoff: Backoff,
    /// Items that are not returned yet; bounded by one chunk of the body.
    queue: VecDeque<QueuedItem>,
    state: SubscriberState,
    timer: DeadlineTimer,
}

enum QueuedItem {
    Item(StreamItem),
    Notification(Result<Notification, Error>),
}

enum SubscriberState {
    /// The next attempt begins at this time.
    Due(Instant),
    /// The attempt lives here, so that the future of `next` may be dropped at any time.
    Opening {
        answer: Pin<Box<dyn Future<Output = Result<Exchange, Error>> + Send>>,
        since: Instant,
    },
    Open(Box<OpenStream>),
    Ended,
}

/// A stream that is being read.
struct OpenStream {
    exchange: Exchange,
    parser: Parser,
    /// Time at which its head or its last byte arrived.
    received_at: Instant,
}

/// The timer of a subscriber, for one deadline at a time.
#[derive(Default)]
struct DeadlineTimer(Option<Pin<Box<Sleep>>>);

impl DeadlineTimer {
    /// Waits until `at`. Another deadline replaces the previous one.
    fn poll_at(&mut self, at: Instant, context: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() != at {
            sleep.as_mut().reset(at);
        }
        sleep.as_mut().poll(context)
    }
}

/// Yields the same notifications as [`Subscriber::next`].
impl Stream for Subscriber {
    type Item = Result<Notification, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_notification(context)
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
    /// Returns the next notification. `None` after an error, after an end without `reconnect`, and after a 204: the hub
    /// has no more events. Cancel safe.
    ///
    /// # Errors
    /// Only errors that another attempt cannot solve: [`ErrorKind::Input`]; [`ErrorKind::Refused`] (4xx except 429);
    /// [`ErrorKind::Protocol`] if the answer is not that of a hub; [`ErrorKind::TooLarge`] for an event beyond
    /// [`crate::ClientBuilder::event_bytes_max`]. The subscriber has then ended;
    /// [`Subscriber::last_event_id`] still returns the id to resume from.
    pub async fn next(&mut self) -> Option<Result<Notification, Error>> {
        poll_fn(|context| self.poll_notification(context)).await
    }

    fn poll_notification(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Notification, Error>>> {
        let idle_timeout = self.client.settings().idle_timeout;
        loop {
            while let Some(queued) = self.queue.pop_front() {
                let notification = match queued {
                    QueuedItem::Item(item) => self.notify(item),
                    QueuedItem::Notification(notification) => Some(notification),
                };
                if notification.is_some() {
                    return Poll::Ready(notification);
                }
            }
            match &mut self.state {
                SubscriberState::Ended => return Poll::Ready(None),
                SubscriberState::Due(at) => {
                    ready!(self.timer.poll_at(*at, context));
                    self.connect();
                }
                SubscriberState::Opening { answer, since } => {
                    let Poll::Ready(answer) = answer.as_mut().poll(context) else {
                        ready!(self.timer.poll_at(*since + idle_timeout, context));
                        self.handle_answer(Err(self.client.timeout_error(idle_timeout)));
                        continue;
                    };
                    self.handle_answer(answer);
                }
                SubscriberState::Open(stream) => {
                    let Poll::Ready(chunk) = stream.exchange.poll_chunk(context) else {
                        ready!(self.timer.poll_at(stream.received_at + idle_timeout, context));
                        self.reconnect(format!("stream was silent for {idle_timeout:?}"), None);
                        continue;
                    };
                    match chunk {
                        Ok(Some(bytes)) => self.parse(&bytes),
                        Ok(None) => self.reconnect("hub closed the stream".to_owned(), None),
                        Err(error) => self.reconnect(error.to_string(), None),
                    }
                }
            }
        }
    }

    /// Returns the id to resume from: that of the notification which [`Subscriber::next`] returned last. Empty if none.
    #[must_use]
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    fn connect(&mut self) {
        let (client, id) = (self.client.clone(), self.last_event_id.clone());
        let history = self.history.as_deref().filter(|_| id.is_empty());
        let RoutedRequest { method, path, body } = self.route.request(history);
        let answer = Box::pin(async move {
            let mut headers = vec![("accept", "text/event-stream"), ("cache-control", "no-cache")];
            if !id.is_empty() {
                headers.push(("last-event-id", id.as_str()));
            }
            if !body.is_empty() {
                headers.push(("content-type", "application/json"));
            }
            let exchange = client.open(method, &path, &headers, body).await?;
            match exchange.status() {
                200 | 204 => Ok(exchange),
                _ => Err(exchange.into_error().await),
            }
        });
        self.state = SubscriberState::Opening { answer, since: Instant::now() };
    }

    /// Handles the head of an answer: the end, a stream, a temporary error, or a final one.
    fn handle_answer(&mut self, answer: Result<Exchange, Error>) {
        let checked = answer.and_then(|exchange| match exchange.status() {
            204 => Ok(None),
            _ => check_content_type(&exchange).map(|()| Some(exchange)),
        });
        match checked {
            Ok(None) => self.state = SubscriberState::Ended,
            Ok(Some(exchange)) => {
                let bound = self.client.settings().event_bytes_max;
                let parser = Parser::with_event_bytes_max(bound).with_last_event_id(&self.last_event_id);
                let stream = OpenStream { exchange, parser, received_at: Instant::now() };
                self.state = SubscriberState::Open(Box::new(stream));
            }
            Err(error) if error.is_temporary() => self.reconnect(error.to_string(), error.retry_after()),
            Err(error) => self.fail(error),
        }
    }

    fn parse(&mut self, bytes: &[u8]) {
        let SubscriberState::Open(stream) = &mut self.state else { return };
        stream.received_at = Instant::now();
        let queue = &mut self.queue;
        let outcome = stream.parser.feed(bytes, &mut |item| queue.push_back(QueuedItem::Item(item)));
        if let Err(error) = outcome {
            let bound = error.event_bytes_max;
            let text = format!("event in the stream is larger than {bound} bytes; raise `event_bytes_max`");
            self.fail(Error::new(ErrorKind::TooLarge, text).with_source(error));
        }
    }

    /// Closes the stream and schedules the next attempt.
    fn reconnect(&mut self, reason: String, retry_after: Option<Duration>) {
        let after = self.backoff.next_delay(retry_after);
        tracing::debug!(%reason, ?after, "subscriber reconnects");
        self.state = SubscriberState::Due(Instant::now() + after);
        let notification = Notification::Reconnecting(Reconnecting { reason, after });
        self.queue.push_back(QueuedItem::Notification(Ok(notification)));
    }

    /// Ends the subscriber with an error, after the items before it.
    fn fail(&mut self, error: Error) {
        self.state = SubscriberState::Ended;
        self.queue.push_back(QueuedItem::Notification(Err(error)));
    }

    /// Converts an item into a notification, and sets the last id.
    fn notify(&mut self, item: StreamItem) -> Option<Result<Notification, Error>> {
        match item {
            StreamItem::Comment(_) => None,
            StreamItem::Retry(delay_ms) => {
                self.backoff.set_base(Duration::from_millis(delay_ms));
                None
            }
            StreamItem::Position(id) => {
                self.set_last_id(id.clone());
                Some(Ok(Notification::Position(id)))
            }
            StreamItem::Event(event) => self.notify_event(event),
        }
    }

    fn notify_event(&mut self, event: MessageEvent) -> Option<Result<Notification, Error>> {
        let MessageEvent { name, data, last_event_id: id } = event;
        let notification = match name.as_str() {
            "tidings.gap" => notice(&name, &data).map(Notification::Gap),
            "tidings.end" => notice(&name, &data).map(Notification::End),
            "tidings.position" => Ok(Notification::Position(id.clone())),
            reserved if reserved.starts_with("tidings.") => {
                self.set_last_id(id);
                return None;
            }
            _ => {
                let id = (!id.is_empty()).then(|| id.clone());
                Ok(Notification::Event(Event { name, data, id }))
            }
        };
        if notification.is_ok() {
            self.set_last_id(id);
        } else {
            // The last id stays before an unreadable notice, so that a resume brings it again.
            self.queue.clear();
            self.state = SubscriberState::Ended;
        }
        if let Ok(Notification::End(end)) = &notification {
            self.end(end);
        }
        Some(notification)
    }

    /// Handles the end of the stream. Items after the notice are dropped.
    fn end(&mut self, end: &EndNotice) {
        self.queue.clear();
        if end.reconnect {
            self.reconnect(format!("hub ended the stream: {}", end.reason.as_str()), None);
        } else {
            self.state = SubscriberState::Ended;
        }
    }

    fn set_last_id(&mut self, id: String) {
        self.last_event_id = id;
        self.backoff.reset();
    }
}

fn notice<N: DeserializeOwned>(name: &str, data: &str) -> Result<N, Error> {
    serde_json::from_str(data).map_err(|error| {
        let text = format!("{name} cannot be read: {error}; is this client older than the hub?");
        Error::new(ErrorKind::Protocol, text).with_source(error)
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
