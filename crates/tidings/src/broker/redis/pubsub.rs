//! Hears what is published on Redis's own channels, and subscribes again to all of them after each loss of the connection.

mod glob;
mod pending;

use std::{collections::BTreeSet, fmt, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout_at},
};

use self::pending::{PendingCommand, PendingCommands};
use super::{
    connection::{ConnectionError, RedisConnection},
    connector::Connector,
    error::{ErrorReply, refused},
    resp::RedisReply,
};
use crate::config::RedisHost;

/// Silence after which the server is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(3);
/// How long it waits before it connects again: first, and at most.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// How a refusal begins that is about what the user may hear.
const NO_PERMISSION: &str = "NOPERM";

type ConnectionFuture = Pin<Box<dyn Future<Output = Result<RedisConnection, ConnectionError>> + Send>>;

/// What Redis is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PubsubTarget {
    /// One channel.
    Name(Vec<u8>),
    /// Every channel that matches: `*` stands for any bytes, also none; `[…]` for one byte of a set.
    Glob(Vec<u8>),
}

impl PubsubTarget {
    /// The channel or the glob.
    pub(super) fn text(&self) -> &[u8] {
        let (Self::Name(text) | Self::Glob(text)) = self;
        text
    }
}

impl fmt::Display for PubsubTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.text()))
    }
}

/// What was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PubsubEvent {
    /// Somebody published. It is said once, however many wishes it fits.
    Message { channel: Bytes, payload: Bytes },
    /// Somebody published more bytes than are taken here.
    TooLarge { channel: Bytes, bytes: u64 },
    /// What is published on this channel, or on those that match, is heard from now on.
    Subscribed { target: PubsubTarget },
    /// The server's user may not hear this; the reason is for the log. Tried, and said, again on each connection.
    Refused { target: PubsubTarget, reason: String },
    /// Nothing is heard, until [`PubsubEvent::Back`]; the reason is for the log. Said again by each attempt to connect that fails.
    Away { reason: String },
    /// All wishes are heard (again), but for those that were refused; what was published since [`PubsubEvent::Away`] is lost.
    Back,
}

/// Hears, on one connection however many channels there are. Works only while [`PubsubConnection::next`] is awaited.
pub(crate) struct PubsubConnection {
    connector: Arc<Connector>,
    payload_bytes_max: usize,
    /// Heard on every connection before anything else; where it is refused, nothing is heard.
    first: PubsubTarget,
    /// The others.
    targets: BTreeSet<PubsubTarget>,
    /// Those of them that were refused when last asked for: a command is refused as a whole, so each goes in its own.
    refused: BTreeSet<PubsubTarget>,
    connection: Option<RedisConnection>,
    /// Where the log is: messages are heard there.
    found: watch::Receiver<Option<RedisHost>>,
    /// A connection on its way. It is kept, so that calls of [`PubsubConnection::next`] which are cut short get there, too.
    opening: Option<ConnectionFuture>,
    /// Whether a connection was opened since the last [`PubsubEvent::Away`].
    is_up: bool,
    /// Wishes that are not answered since the connection was opened; none once that was said.
    unanswered: Option<BTreeSet<PubsubTarget>>,
    /// What the server has of this connection at the point up to which its replies were read.
    standing: BTreeSet<PubsubTarget>,
    /// What this connection was asked and did not answer yet.
    asked: PendingCommands,
    /// When the server has to have taken what waits to be sent.
    send_due: Instant,
    heard_at: Instant,
    is_asked: bool,
    pause: Duration,
    connect_at: Instant,
}

impl PubsubConnection {
    /// Ears that hear `first` before all else, from the first moment of each connection.
    pub(super) fn new(connector: Arc<Connector>, first: PubsubTarget, payload_bytes_max: usize) -> Self {
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
            standing: BTreeSet::new(),
            asked: PendingCommands::default(),
            send_due: now,
            heard_at: now,
            is_asked: false,
            pause: PAUSE,
            connect_at: now,
        }
    }

    /// Adds wishes; each is answered by [`PubsubEvent::Subscribed`] or [`PubsubEvent::Refused`]. Where there is no connection, the next
    /// has them.
    pub(crate) async fn subscribe(&mut self, targets: impl IntoIterator<Item = PubsubTarget>) {
        let mut new = Vec::new();
        for target in targets {
            if target != self.first && self.targets.insert(target.clone()) {
                new.push(target);
            }
        }
        self.enqueue_subscribe(new);
        self.send_now().await;
    }

    /// Asks again for wishes that were refused; each is answered as by [`PubsubConnection::subscribe`].
    pub(crate) async fn resubscribe(&mut self, targets: impl IntoIterator<Item = PubsubTarget>) {
        let refused: Vec<_> = targets.into_iter().filter(|target| self.refused.contains(target)).collect();
        self.enqueue_subscribe(refused);
        self.send_now().await;
    }

    /// Gives wishes up, but for the first. A message that was under way may still be heard.
    pub(crate) async fn unsubscribe(&mut self, targets: impl IntoIterator<Item = PubsubTarget>) {
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

    /// The next thing that is heard; connects where it has to. Cancel-safe.
    pub(crate) async fn next(&mut self) -> PubsubEvent {
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
                return PubsubEvent::Back;
            }
            match self.receive().await {
                Ok(Some(heard)) => return heard,
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
                let (connector, payload_bytes_max) = (self.connector.clone(), self.payload_bytes_max);
                let opening =
                    Box::pin(async move { connector.open(connector.due(), payload_bytes_max).await });
                self.opening.insert(opening)
            }
        };
        let opened = opening.await;
        self.opening = None;
        self.connection = Some(opened?);
        self.is_up = true;
        self.standing.clear();
        self.asked = PendingCommands::default();
        self.heard_at = Instant::now();
        self.is_asked = false;
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
        PubsubEvent::Away { reason: broken.0 }
    }

    /// Asks for wishes; for those that were refused before, for each by itself.
    fn enqueue_subscribe(&mut self, targets: Vec<PubsubTarget>) {
        let (refused, others) = targets.into_iter().partition(|target| self.refused.contains(target));
        self.enqueue(PendingCommand::subscribe(others));
        Vec::into_iter(refused).for_each(|target| self.enqueue(PendingCommand::subscribe(vec![target])));
    }

    /// Puts questions behind what waits to be sent, where there is a connection.
    fn enqueue(&mut self, questions: Vec<PendingCommand>) {
        let Some(connection) = &mut self.connection else { return };
        for question in questions {
            if !connection.has_unsent() {
                self.send_due = self.connector.due();
            }
            connection.enqueue(&question.command());
            self.asked.push(question);
        }
    }

    /// Sends what waits; a connection that does not take it is given up, and [`PubsubConnection::next`] says so.
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
        let quiet = if self.is_asked { SILENCE + self.connector.deadline() } else { SILENCE };
        let received = tokio::select! {
            // What came is read first: in order, and with what was published before the log went elsewhere.
            biased;
            received = timeout_at(self.heard_at + quiet, connection.receive()) => received,
            _ = self.found.changed() => {
                if self.found.borrow().as_ref().is_some_and(|found| found != connection.host()) {
                    return Err(ConnectionError("the log is at another redis now".into()));
                }
                return Ok(None);
            }
        };
        match received {
            Ok(reply) => {
                self.heard_at = Instant::now();
                self.is_asked = false;
                self.on_reply(reply?)
            }
            Err(_) if self.is_asked => Err(self.connector.deadline_error("kept silent")),
            Err(_) => {
                self.is_asked = true;
                self.enqueue(vec![PendingCommand::Ping]);
                Ok(None)
            }
        }
    }

    fn on_reply(&mut self, reply: RedisReply) -> Result<Option<PubsubEvent>, ConnectionError> {
        let parts = match reply {
            RedisReply::Error(error) => return self.on_error_reply(&error),
            RedisReply::Array(parts) => parts,
            // Where nothing is subscribed to, PING is answered with a word.
            _ => {
                self.asked.note_reply();
                return Ok(None);
            }
        };
        let mut parts = parts.into_iter();
        let (Some(kind), Some(RedisReply::Text(subject))) = (parts.next(), parts.next()) else {
            return Ok(None);
        };
        let kind = kind.text().unwrap_or_default();
        if !matches!(kind, b"message" | b"pmessage") {
            self.asked.note_reply();
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

    /// A command was refused as a whole: asks for its halves, until the wish that is refused is alone.
    fn on_error_reply(&mut self, error: &str) -> Result<Option<PubsubEvent>, ConnectionError> {
        let reason = refused(error);
        let targets = match self.asked.next() {
            Some(PendingCommand::Subscribe(targets)) if ErrorReply::parse(error).code == NO_PERMISSION => {
                targets
            }
            // It is heard on, and nobody wants it.
            Some(PendingCommand::Unsubscribe(_)) if ErrorReply::parse(error).code == NO_PERMISSION => {
                return Ok(None);
            }
            _ => return Err(ConnectionError(reason)),
        };
        if targets.contains(&self.first) {
            return Err(ConnectionError(reason));
        }
        // Those that were given up meanwhile are not asked for again.
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

    /// Whether a message counts that came by a glob: the server sends a copy for the name and for each glob that
    /// matches, and of these the name's counts, or else the first glob's.
    fn is_covered_by_earlier_glob(&self, glob: &[u8], channel: &[u8]) -> bool {
        if self.standing.contains(&PubsubTarget::Name(channel.into())) {
            return false;
        }
        let globs = self.standing.iter().rev().map_while(|target| match target {
            PubsubTarget::Glob(glob) => Some(&glob[..]),
            PubsubTarget::Name(_) => None,
        });
        !globs.filter(|other| *other < glob).any(|other| glob::matches(other, channel))
    }

    fn on_subscribed(&mut self, target: PubsubTarget) -> PubsubEvent {
        self.refused.remove(&target);
        self.note_answered(&target);
        self.standing.insert(target.clone());
        PubsubEvent::Subscribed { target }
    }

    fn note_answered(&mut self, target: &PubsubTarget) {
        if let Some(unanswered) = &mut self.unanswered {
            unanswered.remove(target);
        }
    }

    fn on_unsubscribed(&mut self, target: &PubsubTarget) -> Option<PubsubEvent> {
        self.standing.remove(target);
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
