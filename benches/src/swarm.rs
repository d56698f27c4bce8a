//! Many subscribers and a few publishers on one thread: one `epoll`, one `read` for each socket that has something.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
    fd::OwnedFd,
};
use socket2::{Domain, Socket, Type};

use crate::{
    Outcome,
    event::Event,
    http::{Answer, NDJSON, request},
    stream::Stream,
};

/// Connections from one source address: well below the ports of one.
const PORTS_PER_ADDRESS: usize = 10_000;

/// Tells publishers from subscribers in what `epoll` reports.
const PUBLISHER: u64 = 1 << 32;

/// What subscribers saw, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    /// Gaps that the server told of.
    pub(crate) gaps: u64,
    /// Streams that the server closed.
    pub(crate) closed: u64,
}

impl Faults {
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// One open stream.
struct Subscriber {
    socket: TcpStream,
    stream: Stream,
    /// For each publisher, the number that comes next.
    next: Vec<u64>,
    received: u64,
}

/// One keep-alive connection that publishes, one request at a time.
struct Publisher {
    socket: TcpStream,
    answer: Vec<u8>,
    is_waiting: bool,
}

/// All connections of one measurement.
pub(crate) struct Swarm {
    address: SocketAddr,
    epoll: OwnedFd,
    subscribers: Vec<Subscriber>,
    publishers: Vec<Publisher>,
    ready: Vec<epoll::Event>,
    buffer: Box<[u8]>,
    clock: Instant,
    pub(crate) faults: Faults,
    pub(crate) deliveries: u64,
    pub(crate) answers: u64,
    /// Nanoseconds from publish to receipt, where they are asked for.
    pub(crate) latency: Option<Histogram<u64>>,
    /// The longest that the kernel took to connect one client.
    pub(crate) slowest_connect: Duration,
}

impl Swarm {
    pub(crate) fn new(address: SocketAddr) -> Outcome<Self> {
        Ok(Self {
            address,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            subscribers: Vec::new(),
            publishers: Vec::new(),
            ready: Vec::with_capacity(1024),
            buffer: vec![0; 64 << 10].into_boxed_slice(),
            clock: Instant::now(),
            faults: Faults::default(),
            deliveries: 0,
            answers: 0,
            latency: None,
            slowest_connect: Duration::ZERO,
        })
    }

    /// Asks for one more stream. `first` is the number that each publisher's events begin with.
    pub(crate) fn subscribe(&mut self, channel: &str, after: Option<&str>, first: &[u64]) -> Outcome<()> {
        let began = Instant::now();
        let source = Ipv4Addr::new(127, 0, 0, 1 + u8::try_from(self.subscribers.len() / PORTS_PER_ADDRESS)?);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        // Reset, not closed in order: tens of thousands of ports would wait for a minute otherwise.
        socket.set_linger(Some(Duration::ZERO))?;
        socket.connect(&self.address.into())?;
        self.slowest_connect = self.slowest_connect.max(began.elapsed());
        let mut socket = TcpStream::from(socket);
        let resume = after.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let headers = format!("Accept: text/event-stream\r\n{resume}");
        socket.write_all(&request("GET", &format!("/api/v1/events/{channel}"), &headers, b""))?;
        self.watch(&socket, self.subscribers.len() as u64)?;
        self.subscribers.push(Subscriber {
            socket,
            stream: Stream::default(),
            next: first.to_vec(),
            received: 0,
        });
        Ok(())
    }

    /// Opens one more connection to publish on.
    pub(crate) fn add_publisher(&mut self) -> Outcome<()> {
        let socket = TcpStream::connect(self.address)?;
        socket.set_nodelay(true)?;
        self.watch(&socket, PUBLISHER | self.publishers.len() as u64)?;
        self.publishers.push(Publisher { socket, answer: Vec::new(), is_waiting: false });
        Ok(())
    }

    fn watch(&self, socket: &TcpStream, key: u64) -> Outcome<()> {
        socket.set_nonblocking(true)?;
        epoll::add(&self.epoll, socket, epoll::EventData::new_u64(key), epoll::EventFlags::IN)?;
        Ok(())
    }

    pub(crate) fn publishers(&self) -> usize {
        self.publishers.len()
    }

    /// The publishers that have their answer.
    pub(crate) fn idle_publishers(&self) -> Vec<usize> {
        (0..self.publishers.len()).filter(|at| !self.publishers[*at].is_waiting).collect()
    }

    /// How many events the subscriber that is furthest behind has.
    pub(crate) fn received_min(&self) -> u64 {
        self.subscribers.iter().map(|subscriber| subscriber.received).min().unwrap_or(0)
    }

    /// An event of now.
    pub(crate) fn event(&self, source: usize, number: u64) -> Outcome<Event> {
        Ok(Event { source, number, time: u64::try_from(self.clock.elapsed().as_nanos())? })
    }

    /// Sends one event; the answer is counted when it comes.
    pub(crate) fn publish(&mut self, publisher: usize, channel: &str, event: Event) -> Outcome<()> {
        let path = format!("/api/v1/events/{channel}");
        let headers = "Content-Type: application/json\r\n";
        self.send(publisher, &request("POST", &path, headers, event.text().as_bytes()))
    }

    /// Sends a batch, whose answer counts as one.
    pub(crate) fn publish_batch(&mut self, publisher: usize, lines: &str) -> Outcome<()> {
        self.send(publisher, &request("POST", "/api/v1/publish", NDJSON, lines.as_bytes()))
    }

    fn send(&mut self, publisher: usize, request: &[u8]) -> Outcome<()> {
        let publisher = &mut self.publishers[publisher];
        publisher.socket.write_all(request)?;
        publisher.is_waiting = true;
        Ok(())
    }

    /// Reads whatever comes first within `timeout`. False where nothing came.
    pub(crate) fn poll(&mut self, timeout: Duration) -> Outcome<bool> {
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        let timeout = Timespec::try_from(timeout)?;
        match epoll::wait(&self.epoll, spare_capacity(&mut ready), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &ready {
            let key = event.data.u64();
            if key & PUBLISHER == 0 {
                self.read_subscriber(usize::try_from(key)?)?;
            } else {
                self.read_publisher(usize::try_from(key & !PUBLISHER)?)?;
            }
        }
        self.ready = ready;
        Ok(!self.ready.is_empty())
    }

    fn read_publisher(&mut self, at: usize) -> Outcome<()> {
        let publisher = &mut self.publishers[at];
        let count = publisher.socket.read(&mut self.buffer)?;
        publisher.answer.extend_from_slice(&self.buffer[..count]);
        if count == 0 {
            return Err("server closed a publisher's connection".into());
        }
        if let Some(answer) = Answer::read(&publisher.answer)? {
            if answer.status != 200 {
                return Err(
                    format!("publish was answered {}", String::from_utf8_lossy(&publisher.answer)).into()
                );
            }
            publisher.answer.drain(..answer.body.end);
            publisher.is_waiting = false;
            self.answers += 1;
        }
        Ok(())
    }

    fn read_subscriber(&mut self, at: usize) -> Outcome<()> {
        let Subscriber { socket, stream, next, received } = &mut self.subscribers[at];
        let count = match socket.read(&mut self.buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(_) => 0,
        };
        if count == 0 {
            self.faults.closed += 1;
            epoll::delete(&self.epoll, socket)?;
            return Ok(());
        }
        let now = u64::try_from(self.clock.elapsed().as_nanos())?;
        let (faults, latency, deliveries) = (&mut self.faults, &mut self.latency, &mut self.deliveries);
        stream.feed(&self.buffer[..count], &mut |line| {
            if line == b"event: tidings.gap" {
                faults.gaps += 1;
            }
            let Some(event) = line.strip_prefix(b"data: ").and_then(Event::read) else { return };
            *deliveries += 1;
            *received += 1;
            if let Some(latency) = latency {
                latency.saturating_record(now.saturating_sub(event.time).max(1));
            }
            let Some(expected) = next.get_mut(event.source) else { return };
            faults.lost += event.number.saturating_sub(*expected);
            faults.repeated += u64::from(event.number < *expected);
            *expected = (*expected).max(event.number + 1);
        })?;
        Ok(())
    }

    /// Waits until every stream was answered.
    pub(crate) fn open_all(&mut self) -> Outcome<()> {
        self.until("all streams were answered", |swarm| {
            swarm.subscribers.iter().all(|subscriber| subscriber.stream.is_open())
        })
    }

    /// Waits until every publisher has its answer and `deliveries` events came in all; what does not come is lost.
    pub(crate) fn drain(&mut self, deliveries: u64) -> Outcome<()> {
        let mut quiet = 0;
        while self.deliveries < deliveries || self.publishers.iter().any(|publisher| publisher.is_waiting) {
            quiet = if self.poll(Duration::from_millis(100))? { 0 } else { quiet + 1 };
            if quiet == 30 {
                break;
            }
        }
        // Those lost within a stream were counted as they were missed.
        let missing = deliveries.saturating_sub(self.deliveries);
        self.faults.lost = self.faults.lost.max(missing);
        Ok(())
    }

    /// Reads until something holds.
    ///
    /// # Errors
    /// Where nothing came for 30 s before that.
    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) -> Outcome<()> {
        while !holds(self) {
            if !self.poll(Duration::from_secs(30))? {
                return Err(format!("nothing came for 30 s before {what}").into());
            }
        }
        Ok(())
    }
}
