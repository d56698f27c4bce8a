//! Hears what is published on Redis's own channels, and subscribes again to all of them after each loss of the connection.

mod glob;

use std::{collections::BTreeSet, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    connection::{Broken, Connection, Door},
    wire::{Command, Reply},
};

/// Silence after which the server is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(3);
/// Names or globs in one command.
const WISHES_AT_ONCE: usize = 1000;
/// How long it waits before it connects again: first, and at most.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

type Opening = Pin<Box<dyn Future<Output = Result<Connection, Broken>> + Send>>;

/// What Redis is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wish {
    /// One channel.
    Name(Vec<u8>),
    /// Every channel that matches: `*` stands for any bytes, also none; `[…]` for one byte of a set.
    Glob(Vec<u8>),
}

/// What was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Somebody published. It is said once, however many wishes it fits.
    Message { channel: Bytes, payload: Bytes },
    /// Somebody published more bytes than are taken here.
    TooLarge { channel: Bytes, bytes: u64 },
    /// What is published on this channel, or on those that match, is heard from now on.
    Subscribed { wish: Wish },
    /// Nothing is heard, until [`Heard::Back`]; the reason is for the log. Said again by each attempt to connect that fails.
    Away { reason: String },
    /// All wishes are heard (again); what was published since [`Heard::Away`] is lost.
    Back,
}

/// Hears, on one connection however many channels there are. Works only while [`Ears::next`] is awaited.
pub(crate) struct Ears {
    door: Arc<Door>,
    payload_bytes_max: usize,
    wishes: BTreeSet<Wish>,
    connection: Option<Connection>,
    /// A connection on its way. It is kept, so that calls of [`Ears::next`] which are cut short get there, too.
    opening: Option<Opening>,
    /// Whether a connection was opened since the last [`Heard::Away`].
    is_up: bool,
    /// Wishes that are not confirmed since the connection was opened; none once that was said.
    unconfirmed: Option<BTreeSet<Wish>>,
    /// What the server has of this connection at the point up to which its replies were read.
    standing: BTreeSet<Wish>,
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
            wishes: BTreeSet::new(),
            connection: None,
            opening: None,
            is_up: false,
            unconfirmed: None,
            standing: BTreeSet::new(),
            heard_at: now,
            is_asked: false,
            pause: PAUSE,
            connect_at: now,
        }
    }

    /// Adds wishes; each is confirmed by [`Heard::Subscribed`]. Where there is no connection, the next has them.
    pub(crate) async fn subscribe(&mut self, wishes: impl IntoIterator<Item = Wish>) {
        let new: Vec<_> = wishes.into_iter().filter(|wish| self.wishes.insert(wish.clone())).collect();
        self.tell(&commands(["SUBSCRIBE", "PSUBSCRIBE"], &new)).await;
    }

    /// Gives wishes up. A message that was under way may still be heard.
    pub(crate) async fn unsubscribe(&mut self, wishes: impl IntoIterator<Item = Wish>) {
        let old: Vec<_> = wishes.into_iter().filter(|wish| self.wishes.remove(wish)).collect();
        if let Some(unconfirmed) = &mut self.unconfirmed {
            unconfirmed.retain(|wish| self.wishes.contains(wish));
        }
        self.tell(&commands(["UNSUBSCRIBE", "PUNSUBSCRIBE"], &old)).await;
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
        let sent = commands(["SUBSCRIBE", "PSUBSCRIBE"], &self.wishes);
        let sent = timeout_at(due, connection.send(&sent)).await;
        sent.unwrap_or_else(|_| Err(self.door.late("did not take subscriptions")))?;
        self.connection = Some(connection);
        self.is_up = true;
        self.unconfirmed = Some(self.wishes.clone());
        self.standing.clear();
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

    /// Sends commands, where there is a connection; one that fails is given up, and [`Ears::next`] says so.
    async fn tell(&mut self, commands: &[Command]) {
        if commands.is_empty() {
            return;
        }
        let Some(mut connection) = self.connection.take() else { return };
        let sent = timeout_at(self.door.due(), connection.send(commands)).await;
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
        let (Some(kind), Some(Reply::Text(subject))) = (parts.next(), parts.next()) else { return Ok(None) };
        Ok(match kind.text() {
            Some(b"message") => parts.next().and_then(|payload| message(subject, payload)),
            Some(b"pmessage") => match (parts.next(), parts.next()) {
                (Some(Reply::Text(channel)), Some(payload)) if self.is_chosen(&subject, &channel) => {
                    message(channel, payload)
                }
                _ => None,
            },
            Some(b"subscribe") => Some(self.confirmed(Wish::Name(subject.into()))),
            Some(b"psubscribe") => Some(self.confirmed(Wish::Glob(subject.into()))),
            Some(b"unsubscribe") => self.ended(&Wish::Name(subject.into())),
            Some(b"punsubscribe") => self.ended(&Wish::Glob(subject.into())),
            _ => None,
        })
    }

    /// Whether a message counts that came by a glob: the server sends a copy for the name and for each glob that
    /// matches, and of these the name's counts, or else the first glob's.
    fn is_chosen(&self, glob: &[u8], channel: &[u8]) -> bool {
        if self.standing.contains(&Wish::Name(channel.into())) {
            return false;
        }
        let globs = self.standing.iter().rev().map_while(|wish| match wish {
            Wish::Glob(glob) => Some(&glob[..]),
            Wish::Name(_) => None,
        });
        !globs.filter(|other| *other < glob).any(|other| glob::matches(other, channel))
    }

    fn confirmed(&mut self, wish: Wish) -> Heard {
        if let Some(unconfirmed) = &mut self.unconfirmed {
            unconfirmed.remove(&wish);
        }
        self.standing.insert(wish.clone());
        Heard::Subscribed { wish }
    }

    fn ended(&mut self, wish: &Wish) -> Option<Heard> {
        self.standing.remove(wish);
        None
    }
}

fn message(channel: Bytes, payload: Reply) -> Option<Heard> {
    match payload {
        Reply::Text(payload) => Some(Heard::Message { channel, payload }),
        Reply::TooLarge(bytes) => Some(Heard::TooLarge { channel, bytes }),
        _ => None,
    }
}

/// Commands about wishes: the first about names, the second about globs.
fn commands<'a>([of_names, of_globs]: [&str; 2], wishes: impl IntoIterator<Item = &'a Wish>) -> Vec<Command> {
    let (mut names, mut globs) = (Vec::new(), Vec::new());
    for wish in wishes {
        match wish {
            Wish::Name(name) => names.push(name),
            Wish::Glob(glob) => globs.push(glob),
        }
    }
    let command = |name: &str, arguments: &[&Vec<u8>]| {
        let mut command = Command::new(name);
        arguments.iter().for_each(|argument| command.push(argument));
        command
    };
    let of_names = names.chunks(WISHES_AT_ONCE).map(|names| command(of_names, names));
    of_names.chain(globs.chunks(WISHES_AT_ONCE).map(|globs| command(of_globs, globs))).collect()
}
