//! Hears what is published on Redis's own channels, and subscribes again to all of them after each loss of the connection.

use std::{collections::BTreeSet, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    connection::{Broken, Connection, Door},
    wire::{Command, Reply},
};

/// Silence after which the server is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(3);
/// Names in one command.
const NAMES_AT_ONCE: usize = 1000;
/// How long it waits before it connects again: first, and at most.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

type Opening = Pin<Box<dyn Future<Output = Result<Connection, Broken>> + Send>>;

/// What was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Somebody published.
    Message { channel: Bytes, payload: Bytes },
    /// Somebody published more bytes than are taken here.
    TooLarge { channel: Bytes, bytes: u64 },
    /// What is published on this channel from now on is heard.
    Subscribed { channel: Bytes },
    /// Nothing is heard, until [`Heard::Back`]; the reason is for the log. Said again by each attempt to connect that fails.
    Away { reason: String },
    /// All channels are heard (again); what was published since [`Heard::Away`] is lost.
    Back,
}

/// Hears, on one connection however many channels there are. Works only while [`Ears::next`] is awaited.
pub(crate) struct Ears {
    door: Arc<Door>,
    payload_bytes_max: usize,
    names: BTreeSet<Vec<u8>>,
    connection: Option<Connection>,
    /// A connection on its way. It is kept, so that calls of [`Ears::next`] which are cut short get there, too.
    opening: Option<Opening>,
    /// Whether a connection was opened since the last [`Heard::Away`].
    is_up: bool,
    /// Names that are not confirmed since the connection was opened; none once that was said.
    unconfirmed: Option<BTreeSet<Vec<u8>>>,
    heard_at: Instant,
    is_asked: bool,
    pause: Duration,
    connect_at: Instant,
}

impl Ears {
    pub(super) fn new(door: Arc<Door>, payload_bytes_max: usize) -> Self {
        let now = Instant::now();
        Self {
            door,
            payload_bytes_max,
            names: BTreeSet::new(),
            connection: None,
            opening: None,
            is_up: false,
            unconfirmed: None,
            heard_at: now,
            is_asked: false,
            pause: PAUSE,
            connect_at: now,
        }
    }

    /// Adds channels; each is confirmed by [`Heard::Subscribed`]. Where there is no connection, the next has them.
    pub(crate) async fn subscribe(&mut self, names: impl IntoIterator<Item = Vec<u8>>) {
        let new: Vec<_> = names.into_iter().filter(|name| self.names.insert(name.clone())).collect();
        self.tell("SUBSCRIBE", &new).await;
    }

    /// Gives channels up. A message that was under way may still be heard.
    pub(crate) async fn unsubscribe(&mut self, names: impl IntoIterator<Item = Vec<u8>>) {
        let old: Vec<_> = names.into_iter().filter(|name| self.names.remove(name)).collect();
        if let Some(unconfirmed) = &mut self.unconfirmed {
            unconfirmed.retain(|name| !old.contains(name));
        }
        self.tell("UNSUBSCRIBE", &old).await;
    }

    /// The next thing that is heard; connects where it has to. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Heard {
        loop {
            if self.connection.is_none() && self.is_up {
                return self.away(Broken("the connection to redis failed while a command was sent".into()));
            }
            if self.connection.is_none()
                && let Err(broken) = self.connect().await
            {
                return self.away(broken);
            }
            if self.unconfirmed.as_ref().is_some_and(BTreeSet::is_empty) {
                self.unconfirmed = None;
                self.pause = PAUSE;
                return Heard::Back;
            }
            match self.listen().await {
                Ok(Some(heard)) => return heard,
                Ok(None) => {}
                Err(broken) => return self.away(broken),
            }
        }
    }

    async fn connect(&mut self) -> Result<(), Broken> {
        let opening = match &mut self.opening {
            Some(opening) => opening,
            None => {
                sleep_until(self.connect_at).await;
                let (door, payload_bytes_max) = (self.door.clone(), self.payload_bytes_max);
                let opening = Box::pin(async move { door.open(door.due(), payload_bytes_max).await });
                self.opening.insert(opening)
            }
        };
        let opened = opening.await;
        self.opening = None;
        let mut connection = opened?;
        let due = self.door.due();
        let names: Vec<_> = self.names.iter().cloned().collect();
        let sent = timeout_at(due, connection.send(&commands("SUBSCRIBE", &names))).await;
        sent.unwrap_or_else(|_| Err(self.door.late("did not take subscriptions")))?;
        self.connection = Some(connection);
        self.is_up = true;
        self.unconfirmed = Some(self.names.clone());
        self.heard_at = Instant::now();
        self.is_asked = false;
        Ok(())
    }

    fn away(&mut self, broken: Broken) -> Heard {
        self.connection = None;
        self.is_up = false;
        self.unconfirmed = None;
        self.connect_at = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Heard::Away { reason: broken.0 }
    }

    /// Sends a command, where there is a connection; one that fails is given up, and [`Ears::next`] says so.
    async fn tell(&mut self, command: &str, names: &[Vec<u8>]) {
        if names.is_empty() {
            return;
        }
        let Some(mut connection) = self.connection.take() else { return };
        let sent = timeout_at(self.door.due(), connection.send(&commands(command, names))).await;
        if matches!(sent, Ok(Ok(()))) {
            self.connection = Some(connection);
        }
    }

    async fn listen(&mut self) -> Result<Option<Heard>, Broken> {
        let quiet = if self.is_asked { SILENCE + self.door.deadline() } else { SILENCE };
        let connection = self.connection.as_mut().expect("it was opened");
        match timeout_at(self.heard_at + quiet, connection.receive()).await {
            Ok(reply) => {
                self.heard_at = Instant::now();
                self.is_asked = false;
                self.understand(reply?)
            }
            Err(_) if self.is_asked => Err(self.door.late("kept silent")),
            Err(_) => {
                self.is_asked = true;
                // Half a command is worth nothing: whoever drops this call drops the connection.
                let mut connection = self.connection.take().expect("it was opened");
                let sent = timeout_at(self.door.due(), connection.send(&[Command::new("PING")])).await;
                sent.unwrap_or_else(|_| Err(self.door.late("did not take a PING")))?;
                self.connection = Some(connection);
                Ok(None)
            }
        }
    }

    fn understand(&mut self, reply: Reply) -> Result<Option<Heard>, Broken> {
        if let Reply::Error(error) = reply {
            return Err(Broken(format!("redis refused: {error}")));
        }
        let Reply::Array(parts) = reply else { return Ok(None) };
        let mut parts = parts.into_iter();
        let (Some(kind), Some(Reply::Text(channel)), last) = (parts.next(), parts.next(), parts.next())
        else {
            return Ok(None);
        };
        Ok(match (kind.text(), last) {
            (Some(b"message"), Some(Reply::Text(payload))) => Some(Heard::Message { channel, payload }),
            (Some(b"message"), Some(Reply::TooLarge(bytes))) => Some(Heard::TooLarge { channel, bytes }),
            (Some(b"subscribe"), _) => {
                if let Some(unconfirmed) = &mut self.unconfirmed {
                    unconfirmed.remove(&channel[..]);
                }
                Some(Heard::Subscribed { channel })
            }
            _ => None,
        })
    }
}

fn commands(command: &str, names: &[Vec<u8>]) -> Vec<Command> {
    let with_names = |names: &[Vec<u8>]| {
        let mut command = Command::new(command);
        names.iter().for_each(|name| command.push(name));
        command
    };
    names.chunks(NAMES_AT_ONCE).map(with_names).collect()
}
