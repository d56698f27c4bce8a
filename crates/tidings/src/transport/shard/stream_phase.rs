//! One stream of a shard: its socket, its connection, and at most one half-written chunk.

use std::{
    io::{self, IoSlice, Read, Write},
    net::Shutdown,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use mio::net::TcpStream;
use tidings_protocol::{Subscription, body::EndReason};

use super::slot::{Action, ShardContext, SlotState};
use crate::{
    connection::{Connection, NewConnection, Step, Termination, WRITE_BYTES_MAX},
    log::{
        entry::{Entry, Millis},
        read::Page,
    },
    transport::keep_alive::KeepAlive,
};

/// Stretches of the log that are passed over before others have their turn.
const TURNS_MAX: usize = 16;
/// Parts of a write that is usual, and of one that is large.
const PARTS: (usize, usize) = (8, 256);
/// What a client may send behind its request before it is cut off.
const UNASKED_BYTES_MAX: u32 = 64 << 10;
/// How long a client may take to close after the last byte was sent: what it still sends is read away until then, since
/// a socket that is closed with bytes unread is reset, and a client that is reset may not see the end.
const LINGER: Duration = Duration::from_secs(1);

/// A stream in its place.
pub(super) struct StreamPhase {
    pub(super) socket: TcpStream,
    pub(super) watch: SlotState,
    connection: Connection,
    unsent: Option<ChunkWriter>,
    /// Since when its socket takes nothing.
    refused_since: Option<Instant>,
    /// Its socket has refused bytes since it was last at the head.
    is_pressed: bool,
    state: StreamState,
    /// It has been at the head, and nothing has come between since.
    is_idle: bool,
    /// Chunks that it was left.
    queued: Vec<Bytes>,
    queued_bytes: usize,
    keep_alive: KeepAlive<Instant>,
    ends_at: Option<(Instant, EndReason)>,
    unasked_bytes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StreamState {
    Open,
    /// The log is being read for it.
    Reading,
    /// The last chunk is on its way.
    Ending,
    /// All was sent.
    Lingering(Instant),
}

/// What is the same for all that are fed with an entry.
pub(super) struct BroadcastTick {
    pub(super) now: Instant,
    pub(super) now_millis: Millis,
}

impl StreamPhase {
    pub(super) fn new(
        socket: TcpStream,
        head: Bytes,
        NewConnection { mut connection, times, greeting }: NewConnection,
        watch: SlotState,
    ) -> Self {
        let now = Instant::now();
        let keep_alive = KeepAlive::new(times.keep_alive, connection.has_positions(), now);
        let opening = connection.open_frames(times.retry, greeting);
        Self {
            socket,
            unsent: Some(ChunkWriter::first(head, opening)),
            watch,
            connection,
            refused_since: None,
            is_pressed: false,
            state: StreamState::Open,
            is_idle: false,
            queued: Vec::new(),
            queued_bytes: 0,
            keep_alive,
            ends_at: times.ends_in().map(|(left, reason)| (now + left, reason)),
            unasked_bytes: 0,
        }
    }

    pub(super) fn subscriptions(&self) -> Arc<[Subscription]> {
        self.connection.handle().subscriptions().clone()
    }

    /// When it is to be looked at though nothing else happens.
    pub(super) fn due(&self, common: &ShardContext) -> Instant {
        if let StreamState::Lingering(until) = self.state {
            return until;
        }
        let own = match self.refused_since {
            Some(since) => since + common.write_timeout,
            None => self.keep_alive.due(),
        };
        self.ends_at.map_or(own, |(at, _)| own.min(at))
    }

    /// Looks what there is to do, and does it as far as the socket goes along.
    pub(super) fn serve(&mut self, common: &ShardContext) -> Action {
        self.is_idle = false;
        if !self.queued.is_empty() {
            self.keep_alive.sent(Instant::now(), true);
            self.unsent = Some(self.take_queued());
        }
        for _ in 0..TURNS_MAX {
            if self.unsent.is_some() {
                match self.flush(common) {
                    Ok(true) => {}
                    Ok(false) => return Action::Wait,
                    Err(_) => return Action::Close,
                }
            }
            match self.state {
                StreamState::Reading | StreamState::Lingering(_) => return Action::Wait,
                StreamState::Ending => {
                    let _ = self.socket.shutdown(Shutdown::Write);
                    self.state = StreamState::Lingering(Instant::now() + LINGER);
                    return self.discard_input();
                }
                StreamState::Open => {}
            }
            self.connection.handle().register_waker(&self.watch.waker);
            if let Some(ending) = self.termination() {
                self.end(common, ending);
                continue;
            }
            match self.connection.next_step(self.is_pressed) {
                Step::Send { frames, .. } if frames.is_empty() => {}
                Step::Send { frames, has_id } => self.send(frames, has_id),
                Step::Read(page) => {
                    self.state = StreamState::Reading;
                    return Action::Read(page);
                }
                Step::Idle => {
                    (self.is_pressed, self.is_idle) = (false, true);
                    self.connection.handle().set_behind(false);
                    return Action::Wait;
                }
            }
        }
        Action::Again
    }

    /// Leaves an entry that has just been stored, and its chunk, if it is wanted and the stream waits for it; says whether it
    /// is the first.
    pub(super) fn enqueue(&mut self, entry: &Entry, chunk: &Bytes, feed: &BroadcastTick) -> bool {
        let is_over = self.ends_at.is_some_and(|(at, _)| at <= feed.now);
        let is_waiting = self.is_idle && !is_over && !self.connection.handle().has_pending_control();
        // What has no room is read by the stream itself.
        if !is_waiting || self.queued_bytes >= WRITE_BYTES_MAX {
            self.is_idle = false;
            return false;
        }
        if !self.connection.accept_live(entry, feed.now_millis) {
            return false;
        }
        self.queued_bytes += chunk.len();
        self.queued.push(chunk.clone());
        self.queued.len() == 1
    }

    /// Sends what was left for it.
    pub(super) fn send_queued(&mut self, feed: &BroadcastTick, common: &ShardContext) -> Action {
        if self.queued.len() > 1 {
            self.keep_alive.sent(feed.now, true);
            self.unsent = Some(self.take_queued());
            return self.flush_broadcast(common);
        }
        // It was sent already where something else made it look. The room for one is kept.
        let Some(chunk) = self.queued.pop() else { return Action::Wait };
        self.queued_bytes = 0;
        self.keep_alive.sent(feed.now, true);
        let written = match self.socket.write(&chunk) {
            Ok(written) if written == chunk.len() => return self.after_broadcast(common),
            Ok(written) => written,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => 0,
            Err(_) => return Action::Close,
        };
        let mut unsent = ChunkWriter::new(vec![chunk]);
        unsent.advance(written);
        self.unsent = Some(unsent);
        self.serve(common)
    }

    fn take_queued(&mut self) -> ChunkWriter {
        self.queued_bytes = 0;
        ChunkWriter::new(std::mem::take(&mut self.queued))
    }

    fn flush_broadcast(&mut self, common: &ShardContext) -> Action {
        match self.flush(common) {
            Ok(true) => self.after_broadcast(common),
            Ok(false) => {
                self.is_idle = false;
                Action::Wait
            }
            Err(_) => Action::Close,
        }
    }

    /// Goes on after it was fed: one that was left less than there is reads the rest itself.
    fn after_broadcast(&mut self, common: &ShardContext) -> Action {
        if self.is_idle { Action::Wait } else { self.serve(common) }
    }

    /// Takes what was read for it; none where reading failed, which would fail again: the client comes back by itself.
    pub(super) fn on_page_read(&mut self, page: Option<Page>, common: &ShardContext) -> Action {
        let Some(page) = page else { return Action::Close };
        self.state = StreamState::Open;
        if self.termination().is_none() {
            let frames = self.connection.deliver(page, self.is_pressed);
            if !frames.is_empty() {
                self.send(frames, true);
            }
        }
        self.serve(common)
    }

    /// Looks at it because of the time.
    pub(super) fn tick(&mut self, common: &ShardContext, now: Instant) -> Action {
        if let StreamState::Lingering(until) = self.state {
            return if until <= now { Action::Close } else { Action::Wait };
        }
        if let Some(since) = self.refused_since {
            if since + common.write_timeout > now {
                return Action::Wait;
            }
            common.metrics.connections.write_timeout();
            return Action::Close;
        }
        // First it looks at the log, which moves its cursor to the head: the position that it is given is the newest.
        match self.serve(common) {
            Action::Wait if self.is_idle => match self.keep_alive.take_due(now) {
                Some(due) => {
                    self.unsent = Some(ChunkWriter::frames(vec![self.connection.keep_alive(due)]));
                    self.serve(common)
                }
                None => Action::Wait,
            },
            next => next,
        }
    }

    /// Reads away what the client sends unasked, and notices when it has gone. A client that has said all it has to say
    /// counts as gone.
    pub(super) fn discard_input(&mut self) -> Action {
        let mut bytes = [0; 2048];
        loop {
            match self.socket.read(&mut bytes) {
                Ok(0) => return Action::Close,
                Ok(count) => self.unasked_bytes += u32::try_from(count).unwrap_or(UNASKED_BYTES_MAX),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Action::Wait,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Action::Close,
            }
            if self.unasked_bytes > UNASKED_BYTES_MAX {
                return Action::Close;
            }
        }
    }

    fn termination(&self) -> Option<Termination> {
        let by_time = self.ends_at.filter(|(at, _)| *at <= Instant::now());
        let by_time = by_time.map(|(_, reason)| Termination { reason, reconnect: true, retry: None });
        by_time.or_else(|| self.connection.handle().termination())
    }

    fn end(&mut self, common: &ShardContext, Termination { reason, reconnect, retry }: Termination) {
        common.metrics.connections.stream_ended(reason);
        self.unsent = Some(ChunkWriter::last(self.connection.end_frame(reason, reconnect, retry)));
        self.state = StreamState::Ending;
    }

    fn send(&mut self, frames: Vec<Bytes>, has_id: bool) {
        self.keep_alive.sent(Instant::now(), has_id);
        self.unsent = Some(ChunkWriter::frames(frames));
    }

    /// Writes what is unsent; false where the socket has taken but a part.
    fn flush(&mut self, common: &ShardContext) -> io::Result<bool> {
        let Some(unsent) = &mut self.unsent else { return Ok(true) };
        loop {
            match unsent.write(&mut self.socket) {
                Ok(_) if unsent.is_sent() => {
                    (self.unsent, self.refused_since) = (None, None);
                    return Ok(true);
                }
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                // It took some: what it does not take next it refuses from now on.
                Ok(_) => self.refused_since = None,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.refused_since.is_none() {
            self.refused_since = Some(Instant::now());
            common.metrics.connections.socket_backpressure();
        }
        self.is_pressed = true;
        common.metrics.events.transient_dropped(self.connection.handle().set_behind(true));
        Ok(false)
    }
}

/// Bytes on their way out: whole HTTP/1.1 chunks in their parts, before the first the head of the response.
struct ChunkWriter {
    parts: Vec<Bytes>,
    /// Parts that were sent whole.
    sent: usize,
    /// Bytes of the next one that were.
    sent_bytes: usize,
}

const LINE_END: Bytes = Bytes::from_static(b"\r\n");
const END_OF_BODY: Bytes = Bytes::from_static(b"\r\n0\r\n\r\n");

/// Makes one HTTP/1.1 chunk of a frame.
pub(super) fn chunk_of(frame: &[u8]) -> Bytes {
    let mut chunk = BytesMut::with_capacity(frame.len() + SIZE_BYTES + LINE_END.len());
    chunk.extend_from_slice(size_line_in(&mut [0; SIZE_BYTES], frame.len()));
    chunk.extend_from_slice(frame);
    chunk.extend_from_slice(&LINE_END);
    chunk.freeze()
}

impl ChunkWriter {
    fn new(parts: Vec<Bytes>) -> Self {
        Self { parts, sent: 0, sent_bytes: 0 }
    }

    fn first(head: Bytes, opening: Bytes) -> Self {
        Self::new(vec![head, size_line(opening.len()), opening, LINE_END])
    }

    /// One chunk of several frames.
    fn frames(frames: Vec<Bytes>) -> Self {
        Self::chunk(frames, LINE_END)
    }

    fn last(frame: Bytes) -> Self {
        Self::chunk(vec![frame], END_OF_BODY)
    }

    fn chunk(frames: Vec<Bytes>, end: Bytes) -> Self {
        let mut parts = Vec::with_capacity(frames.len() + 2);
        parts.push(size_line(frames.iter().map(Bytes::len).sum()));
        parts.extend(frames);
        parts.push(end);
        Self::new(parts)
    }

    fn is_sent(&self) -> bool {
        self.sent == self.parts.len()
    }

    /// Writes once.
    fn write(&mut self, socket: &mut TcpStream) -> io::Result<usize> {
        let few = self.parts.len() - self.sent <= PARTS.0;
        let written =
            if few { self.gather::<{ PARTS.0 }>(socket) } else { self.gather::<{ PARTS.1 }>(socket) }?;
        self.advance(written);
        Ok(written)
    }

    fn gather<const PARTS: usize>(&self, socket: &mut TcpStream) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); PARTS];
        let unsent = &self.parts[self.sent..];
        for (slice, part) in slices.iter_mut().zip(unsent) {
            *slice = IoSlice::new(part);
        }
        slices[0] = IoSlice::new(&unsent[0][self.sent_bytes..]);
        socket.write_vectored(&slices[..unsent.len().min(PARTS)])
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(part) = self.parts.get(self.sent) {
            let left = part.len() - self.sent_bytes;
            if written < left {
                self.sent_bytes += written;
                return;
            }
            written -= left;
            (self.sent, self.sent_bytes) = (self.sent + 1, 0);
        }
    }
}

/// The most that the line of a chunk's size takes.
const SIZE_BYTES: usize = 2 * size_of::<usize>() + 2;

fn size_line(bytes: usize) -> Bytes {
    Bytes::copy_from_slice(size_line_in(&mut [0; SIZE_BYTES], bytes))
}

/// Writes the line of a chunk's size, as hyper does.
fn size_line_in(line: &mut [u8; SIZE_BYTES], bytes: usize) -> &[u8] {
    let mut left = &mut line[..];
    write!(left, "{bytes:X}\r\n").expect("it is long enough for every size");
    let unused = left.len();
    &line[..SIZE_BYTES - unused]
}

#[cfg(test)]
mod tests;
