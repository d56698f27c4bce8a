//! One stream of a shard: its socket, the driver of its connection, and at most one half-written chunk.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::net::TcpStream;
use tidings_log::{Entry, Millis, Page};
use tidings_protocol::Subscription;

use super::chunk_writer::ChunkWriter;
use super::context::{ShardContext, SlotAction, SlotState};
use crate::connection::WRITE_BYTES_MAX;
use crate::connection::driver::{Driver, DriverStep, NewConnection, POLLS_MAX};

/// Bytes that a client may send after its request before it is disconnected.
const INPUT_BYTES_MAX: u32 = 64 << 10;
/// Time that a client has to close the connection after the last byte was sent. Until then its input is discarded: the system
/// resets a socket that is closed with unread bytes, and a client that is reset may not see the end.
const LINGER: Duration = Duration::from_secs(1);

/// One stream and its socket.
pub(super) struct StreamPhase {
    pub(super) socket: TcpStream,
    pub(super) slot_state: SlotState,
    driver: Driver,
    unsent: Option<ChunkWriter>,
    socket_state: SocketState,
    /// Chunks of entries that the shard broadcast.
    queued: Vec<Bytes>,
    queued_bytes: u32,
    input_bytes: u32,
}

const _: () = assert!(size_of::<StreamPhase>() <= 512, "a stream takes at most 512 bytes");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SocketState {
    Writable,
    /// The socket takes no bytes since this time.
    Refusing(Instant),
    /// All bytes were sent; the client has until this time to close.
    Lingering(Instant),
}

/// Time of one broadcast, the same for all streams that receive it.
pub(super) struct BroadcastTick {
    pub(super) now: Instant,
    pub(super) now_millis: Millis,
}

impl StreamPhase {
    pub(super) fn new(socket: TcpStream, head: Bytes, stream: NewConnection, slot_state: SlotState) -> Self {
        let (driver, opening) = Driver::new(stream, Instant::now());
        Self {
            socket,
            unsent: Some(ChunkWriter::first(head, opening)),
            slot_state,
            driver,
            socket_state: SocketState::Writable,
            queued: Vec::new(),
            queued_bytes: 0,
            input_bytes: 0,
        }
    }

    pub(super) fn subscriptions(&self) -> Arc<[Subscription]> {
        self.driver.handle().subscriptions().clone()
    }

    /// Returns the time of the next poll if nothing else happens before.
    pub(super) fn due(&self, context: &ShardContext) -> Instant {
        match self.socket_state {
            SocketState::Writable => self.driver.due(),
            SocketState::Refusing(since) => since + context.write_timeout,
            SocketState::Lingering(until) => until,
        }
    }

    /// Polls the driver and writes until the stream waits.
    pub(super) fn serve(&mut self, context: &ShardContext) -> SlotAction {
        if !self.queued.is_empty() {
            self.driver.note_sent(Instant::now(), true);
            self.unsent = Some(self.take_queued());
        }
        for _ in 0..POLLS_MAX {
            let Ok(can_write) = self.flush(context) else { return SlotAction::Close };
            if self.driver.is_finished() {
                return if can_write { self.linger() } else { SlotAction::Wait };
            }
            match self.driver.poll(&self.slot_state.waker, Instant::now(), can_write) {
                DriverStep::Write(frames) => self.unsent = Some(ChunkWriter::frames(frames)),
                DriverStep::Load(page) => return SlotAction::Load(page),
                DriverStep::WaitUntil(_) => return SlotAction::Wait,
                DriverStep::Continue => {}
                DriverStep::Finish(frame) => self.unsent = Some(ChunkWriter::last(frame)),
            }
        }
        SlotAction::Again
    }

    /// Queues the chunk of a new entry if the stream is idle and wants it; returns whether it is the first in the queue.
    pub(super) fn enqueue(&mut self, entry: &Entry, chunk: &Bytes, tick: &BroadcastTick) -> bool {
        let has_room = self.queued_bytes < WRITE_BYTES_MAX as u32;
        if !self.driver.accept_live(entry, tick.now, tick.now_millis, has_room) {
            return false;
        }
        self.queued_bytes = self.queued_bytes.saturating_add(u32::try_from(chunk.len()).unwrap_or(u32::MAX));
        self.queued.push(chunk.clone());
        self.queued.len() == 1
    }

    /// Sends the queued chunks.
    pub(super) fn send_queued(&mut self, tick: &BroadcastTick, context: &ShardContext) -> SlotAction {
        if self.queued.len() > 1 {
            self.driver.note_sent(tick.now, true);
            self.unsent = Some(self.take_queued());
            return match self.flush(context) {
                Ok(true) => self.after_broadcast(context),
                Ok(false) => {
                    self.driver.fall_behind();
                    SlotAction::Wait
                }
                Err(_) => SlotAction::Close,
            };
        }
        // Empty if the stream was served meanwhile. The capacity for one chunk is kept.
        let Some(chunk) = self.queued.pop() else { return SlotAction::Wait };
        self.queued_bytes = 0;
        self.driver.note_sent(tick.now, true);
        let written = match self.socket.write(&chunk) {
            Ok(written) if written == chunk.len() => return self.after_broadcast(context),
            Ok(written) => written,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => 0,
            Err(_) => return SlotAction::Close,
        };
        let mut unsent = ChunkWriter::new(vec![chunk]);
        unsent.advance(written);
        self.unsent = Some(unsent);
        self.serve(context)
    }

    fn take_queued(&mut self) -> ChunkWriter {
        self.queued_bytes = 0;
        ChunkWriter::new(std::mem::take(&mut self.queued))
    }

    /// Serves a stream that did not accept all entries of the broadcast: it reads the others from the log.
    fn after_broadcast(&mut self, context: &ShardContext) -> SlotAction {
        if self.driver.is_idle() { SlotAction::Wait } else { self.serve(context) }
    }

    /// Takes the page that was loaded. `None` closes the connection: loading panicked and would again.
    pub(super) fn on_page_loaded(&mut self, page: Option<Page>, context: &ShardContext) -> SlotAction {
        let Some(page) = page else { return SlotAction::Close };
        if let Some(frames) = self.driver.on_page_loaded(page, Instant::now()) {
            self.unsent = Some(ChunkWriter::frames(frames));
        }
        self.serve(context)
    }

    /// Serves the stream because of the time.
    pub(super) fn tick(&mut self, context: &ShardContext, now: Instant) -> SlotAction {
        match self.socket_state {
            SocketState::Writable => self.serve(context),
            SocketState::Refusing(since) if since + context.write_timeout <= now => {
                context.metrics.connections.write_timeouts.inc();
                SlotAction::Close
            }
            SocketState::Lingering(until) if until <= now => SlotAction::Close,
            SocketState::Refusing(_) | SocketState::Lingering(_) => SlotAction::Wait,
        }
    }

    /// Discards the client's input, and closes the connection at its end: a client that closed its sending direction counts
    /// as gone.
    pub(super) fn discard_input(&mut self) -> SlotAction {
        let mut bytes = [0; 2048];
        loop {
            match self.socket.read(&mut bytes) {
                Ok(0) => return SlotAction::Close,
                Ok(count) => self.input_bytes += u32::try_from(count).unwrap_or(INPUT_BYTES_MAX),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return SlotAction::Wait,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return SlotAction::Close,
            }
            if self.input_bytes > INPUT_BYTES_MAX {
                return SlotAction::Close;
            }
        }
    }

    fn linger(&mut self) -> SlotAction {
        if let SocketState::Lingering(_) = self.socket_state {
            return SlotAction::Wait;
        }
        let _ = self.socket.shutdown(Shutdown::Write);
        self.socket_state = SocketState::Lingering(Instant::now() + LINGER);
        self.discard_input()
    }

    /// Writes the unsent bytes; `false` if the socket refuses some of them.
    fn flush(&mut self, context: &ShardContext) -> io::Result<bool> {
        let Some(unsent) = &mut self.unsent else { return Ok(true) };
        loop {
            match unsent.write(&mut self.socket) {
                Ok(_) if unsent.is_sent() => {
                    (self.unsent, self.socket_state) = (None, SocketState::Writable);
                    return Ok(true);
                }
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                // The write timeout begins anew with each byte that the socket takes.
                Ok(_) => self.socket_state = SocketState::Writable,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.socket_state == SocketState::Writable {
            self.socket_state = SocketState::Refusing(Instant::now());
            context.metrics.connections.socket_backpressure.inc();
        }
        Ok(false)
    }
}
