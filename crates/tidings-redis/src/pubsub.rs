//! Pub/Sub connection that reconnects, and then subscribes to all of its targets again.

mod glob;
mod pending;
mod target;

use std::{collections::BTreeSet, fmt, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use self::pending::{PendingCommand, PendingCommands};
pub use self::target::PubsubTarget;
use crate::connection::{ConnectionError, RedisConnection};
use crate::connector::Connector;
use crate::error::refused;
use crate::error_reply::ErrorReply;
use crate::resp::RedisReply;
use crate::url::RedisHost;

/// Silence after which the connection sends `PING`.
const SILENCE: Duration = Duration::from_secs(3);
/// Pause before a reconnect: the first one, and the longest.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// Error code of a subscription that the ACL denies.
const NO_PERMISSION: &str = "NOPERM";

type ConnectionFuture = Pin<Box<dyn Future<Output = Result<RedisConnection, ConnectionError>> + Send>>;

/// Event of a Pub/Sub connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PubsubEvent {
    /// A published message; reported once, also if several targets match.
    Message {
        /// Channel of the message.
        channel: Bytes,
        /// Text of the message.
        payload: Bytes,
    },
    /// A published message above the size limit.
    TooLarge {
        /// Channel of the message.
        channel: Bytes,
        /// Size of the message.
        bytes: u64,
    },
    /// Redis confirmed the subscription.
    Subscribed {
        /// Channel or glob.
        target: PubsubTarget,
    },
    /// Redis refused the subscription. Each new connection tries, and reports, again.
    Refused {
        /// Channel or glob.
        target: PubsubTarget,
        /// Error of Redis.
        reason: String,
    },
    /// The connection failed, and no message arrives until [`PubsubEvent::Ready`]. Reported for each failed attempt to connect.
    Disconnected {
        /// Error of the connection, or of the attempt to connect.
        reason: String,
    },
    /// All subscriptions are confirmed or refused. Messages published since [`PubsubEvent::Disconnected`] are lost.
    Ready,
}

/// One Pub/Sub connection for all targets. It works only while [`PubsubConnection::next`] is awaited.
pub struct PubsubConnection {
    connector: Arc<Connector>,
    payload_bytes_max: usize,
    /// First subscription of every connection; the connection fails if Redis refuses it.
    first: PubsubTarget,
    /// Other targets.
    targets: BTreeSet<PubsubTarget>,
    /// Targets that Redis refused last. Each goes in its own command, because Redis refuses a command as a whole.
    refused: BTreeSet<PubsubTarget>,
    connection: Option<RedisConnection>,
    /// Host of the key, where other clients publish.
    found: watch::Receiver<Option<RedisHost>>,
    /// Connection that is being opened; kept across cancelled calls of [`PubsubConnection::next`].
    opening: Option<ConnectionFuture>,
    /// Whether a connection was opened since the last [`PubsubEvent::Disconnected`].
    is_up: bool,
    /// Targets without an answer on this connection; `None` after [`PubsubEvent::Ready`].
    unanswered: Option<BTreeSet<PubsubTarget>>,
    /// Subscriptions that the server has, as of the last reply read.
    confirmed: BTreeSet<PubsubTarget>,
    /// Commands without a full answer.
    pending: PendingCommands,
    /// Deadline of the unsent commands.
    send_due: Instant,
    received_at: Instant,
    has_pinged: bool,
    pause: Duration,
    connect_at: Instant,
}

impl PubsubConnection {
    /// Creates a connection that subscribes to `first` before other targets.
    pub fn new(connector: Arc<Connector>, first: PubsubTarget, payload_bytes_max: usize) -> Self {
        let now = Instant::now();
        Self {
            found: connector.found(),
            connector,
            payload_bytes_max,
            first,
            targets: BTreeSet::new(),
            refused: BTreeSet::new(),
            connection: None,
            opening: None,
            is_up: false,
            unanswered: None,
            confirmed: BTreeSet::new(),
            pending: PendingCommands::default(),
            send_due: now,
            received_at: now,
            has_pinged: false,
            pause: PAUSE,
            connect_at: now,
        }
    }

    /// Adds targets. Each gets [`PubsubEvent::Subscribed`] or [`PubsubEvent::Refused`], from the next connection if there is
    /// none.
    pub async fn subscribe(&mut self, targets: impl IntoIterator<Item = PubsubTarget>) {
        let mut new = Vec::new();
        for target in targets {
            if target != self.first && self.targets.insert(target.clone()) {
                new.push(target);
            }
        }
        self.enqueue_subscribe(new);
        self.send_now().await;
    }

    /// Subscribes again to refused targets; each is answered as in [`PubsubConnection::subscribe`].
    pub async fn resubscribe(&mut self, targets: impl IntoIterator<Item = PubsubTarget>) {
        let refused: Vec<_> = targets.into_iter().filter(|target| self.refused.contains(target)).collect();
        self.enqueue_subscribe(refused);
        self.send_now().await;
    }

    /// Removes targets, except the first. A message that is on its way may still arrive.
    pub async fn unsubscribe(&mut self, targets: impl IntoIterator<Item = PubsubTarget>) {
        let old: Vec<_> = targets.into_iter().filter(|target| self.targets.remove(target)).collect();
        for target in &old {
            self.refused.remove(target);
            if let Some(unanswered) = &mut self.unanswered {
                unanswered.remove(target);
            }
        }
        self.enqueue(PendingCommand::unsubscribe(old));
        self.send_now().await;
    }

    /// Returns the next event; connects if needed. Cancel-safe.
    pub async fn next(&mut self) -> PubsubEvent {
        loop {
            if self.connection.is_none() && self.is_up {
                return self.on_disconnect(ConnectionError(
                    "the connection to redis failed while a command was sent".into(),
                ));
            }
            if self.connection.is_none()
                && let Err(broken) = self.connect().await
            {
                return self.on_disconnect(broken);
            }
            if self.unanswered.as_ref().is_some_and(BTreeSet::is_empty) {
                self.unanswered = None;
                self.pause = PAUSE;
                return PubsubEvent::Ready;
            }
            match self.receive().await {
                Ok(Some(event)) => return event,
                Ok(None) => {}
                Err(broken) => return self.on_disconnect(broken),
            }
        }
    }

    async fn connect(&mut self) -> Result<(), ConnectionError> {
        let opening = match &mut self.opening {
            Some(opening) => opening,
            None => {
                sleep_until(self.connect_at).await;
                let connector = self.connector.clone();
                self.opening.insert(Box::pin(async move { connector.open(connector.due()).await }))
            }
        };
        let opened = opening.await;
        self.opening = None;
        self.connection.insert(opened?).limit_texts(self.payload_bytes_max);
        self.is_up = true;
        self.confirmed.clear();
        self.pending = PendingCommands::default();
        self.received_at = Instant::now();
        self.has_pinged = false;
        let all = self.targets.iter().chain([&self.first]).cloned();
        self.unanswered = Some(all.collect());
        self.enqueue(PendingCommand::subscribe(vec![self.first.clone()]));
        self.enqueue_subscribe(self.targets.iter().cloned().collect());
        Ok(())
    }

    fn on_disconnect(&mut self, broken: ConnectionError) -> PubsubEvent {
        self.connection = None;
        self.is_up = false;
        self.unanswered = None;
        self.connect_at = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        PubsubEvent::Disconnected { reason: broken.0 }
    }

    /// Subscribes to targets; to each refused one in a command of its own.
    fn enqueue_subscribe(&mut self, targets: Vec<PubsubTarget>) {
        let (refused, others) = targets.into_iter().partition(|target| self.refused.contains(target));
        self.enqueue(PendingCommand::subscribe(others));
        Vec::into_iter(refused).for_each(|target| self.enqueue(PendingCommand::subscribe(vec![target])));
    }

    /// Appends commands to the unsent ones, if there is a connection.
    fn enqueue(&mut self, commands: Vec<PendingCommand>) {
        let Some(connection) = &mut self.connection else { return };
        for command in commands {
            if !connection.has_unsent() {
                self.send_due = self.connector.due();
            }
            connection.enqueue(&command.command());
            self.pending.push(command);
        }
    }

    /// Sends the unsent commands. Drops a connection that does not take them; [`PubsubConnection::next`] reports that.
    async fn send_now(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        if !matches!(timeout_at(self.send_due, connection.flush()).await, Ok(Ok(()))) {
            self.connection = None;
        }
    }

    async fn receive(&mut self) -> Result<Option<PubsubEvent>, ConnectionError> {
        let connection = self.connection.as_mut().expect("it was opened");
        if connection.has_unsent() {
            let sent = timeout_at(self.send_due, connection.flush()).await;
            sent.unwrap_or_else(|_| Err(self.connector.deadline_error("did not take subscriptions")))?;
        }
        let quiet = if self.has_pinged { SILENCE + self.connector.deadline() } else { SILENCE };
        let received = tokio::select! {
            // Arrived messages first: they were published before the key moved to another host.
            biased;
            received = timeout_at(self.received_at + quiet, connection.receive()) => received,
            _ = self.found.changed() => {
                if self.found.borrow().as_ref().is_some_and(|found| found != connection.host()) {
                    return Err(ConnectionError(format!("{} is at another redis now", self.connector.key())));
                }
                return Ok(None);
            }
        };
        match received {
            Ok(reply) => {
                self.received_at = Instant::now();
                self.has_pinged = false;
                self.on_reply(reply?)
            }
            Err(_) if self.has_pinged => Err(self.connector.deadline_error("kept silent")),
            Err(_) => {
                self.has_pinged = true;
                self.enqueue(vec![PendingCommand::Ping]);
                Ok(None)
            }
        }
    }

    fn on_reply(&mut self, reply: RedisReply) -> Result<Option<PubsubEvent>, ConnectionError> {
        let parts = match reply {
            RedisReply::Error(error) => return self.on_error_reply(&error),
            RedisReply::Array(parts) => parts,
            // Redis answers `PING` with a simple string if the connection has no subscription.
            _ => {
                self.pending.note_reply();
                return Ok(None);
            }
        };
        let mut parts = parts.into_iter();
        let (Some(kind), Some(RedisReply::Text(subject))) = (parts.next(), parts.next()) else {
            return Ok(None);
        };
        let kind = kind.text().unwrap_or_default();
        if !matches!(kind, b"message" | b"pmessage") {
            self.pending.note_reply();
        }
        Ok(match kind {
            b"message" => parts.next().and_then(|payload| message(subject, payload)),
            b"pmessage" => match (parts.next(), parts.next()) {
                (Some(RedisReply::Text(channel)), Some(payload))
                    if self.is_covered_by_earlier_glob(&subject, &channel) =>
                {
                    message(channel, payload)
                }
                _ => None,
            },
            b"subscribe" => Some(self.on_subscribed(PubsubTarget::Name(subject.into()))),
            b"psubscribe" => Some(self.on_subscribed(PubsubTarget::Glob(subject.into()))),
            b"unsubscribe" => self.on_unsubscribed(&PubsubTarget::Name(subject.into())),
            b"punsubscribe" => self.on_unsubscribed(&PubsubTarget::Glob(subject.into())),
            _ => None,
        })
    }

    /// Handles a refused command: subscribes to each half of its targets, until the refused target is alone.
    fn on_error_reply(&mut self, error: &str) -> Result<Option<PubsubEvent>, ConnectionError> {
        let reason = refused(error);
        let targets = match self.pending.next() {
            Some(PendingCommand::Subscribe(targets)) if ErrorReply::parse(error).code == NO_PERMISSION => {
                targets
            }
            // The subscription stays, and its messages are ignored.
            Some(PendingCommand::Unsubscribe(_)) if ErrorReply::parse(error).code == NO_PERMISSION => {
                return Ok(None);
            }
            _ => return Err(ConnectionError(reason)),
        };
        if targets.contains(&self.first) {
            return Err(ConnectionError(reason));
        }
        // Targets that were removed meanwhile are left out.
        let mut targets: Vec<_> =
            targets.into_iter().filter(|target| self.targets.contains(target)).collect();
        if targets.len() > 1 {
            let half = targets.split_off(targets.len() / 2);
            self.enqueue(PendingCommand::subscribe(targets));
            self.enqueue(PendingCommand::subscribe(half));
            return Ok(None);
        }
        let Some(target) = targets.pop() else { return Ok(None) };
        self.refused.insert(target.clone());
        self.note_answered(&target);
        Ok(Some(PubsubEvent::Refused { target, reason }))
    }

    /// Whether a message that came by a glob counts. The server sends a copy for the channel and one for each matching glob; the
    /// copy for the channel counts, or else that of the first glob.
    fn is_covered_by_earlier_glob(&self, glob: &[u8], channel: &[u8]) -> bool {
        if self.confirmed.contains(&PubsubTarget::Name(channel.into())) {
            return false;
        }
        let globs = self.confirmed.iter().rev().map_while(|target| match target {
            PubsubTarget::Glob(glob) => Some(&glob[..]),
            PubsubTarget::Name(_) => None,
        });
        !globs.filter(|other| *other < glob).any(|other| glob::matches(other, channel))
    }

    fn on_subscribed(&mut self, target: PubsubTarget) -> PubsubEvent {
        self.refused.remove(&target);
        self.note_answered(&target);
        self.confirmed.insert(target.clone());
        PubsubEvent::Subscribed { target }
    }

    fn note_answered(&mut self, target: &PubsubTarget) {
        if let Some(unanswered) = &mut self.unanswered {
            unanswered.remove(target);
        }
    }

    fn on_unsubscribed(&mut self, target: &PubsubTarget) -> Option<PubsubEvent> {
        self.confirmed.remove(target);
        None
    }
}

fn message(channel: Bytes, payload: RedisReply) -> Option<PubsubEvent> {
    match payload {
        RedisReply::Text(payload) => Some(PubsubEvent::Message { channel, payload }),
        RedisReply::TooLarge(bytes) => Some(PubsubEvent::TooLarge { channel, bytes }),
        _ => None,
    }
}

impl fmt::Debug for PubsubConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PubsubConnection").field("first", &self.first).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
