//! The epoll baseline: the cost of the kernel. One thread, one event queue, and one write for each delivery; no ids,
//! keep-alives, bounds or slow clients. It serves only the load of these benchmarks.

use std::collections::HashMap;
use std::io::{self, Read, Write};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const LISTENER: Token = Token(usize::MAX);
const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n\
    transfer-encoding: chunked\r\n\r\n";
const PUBLISHED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

struct EpollClient {
    socket: TcpStream,
    /// Bytes of an incomplete request.
    read: Vec<u8>,
}

#[derive(Default)]
struct EpollServer {
    clients: HashMap<usize, EpollClient>,
    channels: HashMap<String, Vec<usize>>,
    next: usize,
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8000".into());
    let address = address.parse().map_err(|_| io::Error::other("the address is none"))?;
    let mut listener = TcpListener::bind(address)?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut server = EpollServer::default();
    loop {
        match poll.poll(&mut events, None) {
            // `strace` interrupts the poll.
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            match event.token() {
                LISTENER => {
                    while let Ok((mut socket, _)) = listener.accept() {
                        socket.set_nodelay(true)?;
                        let interest = Interest::READABLE;
                        poll.registry().register(&mut socket, Token(server.next), interest)?;
                        server.clients.insert(server.next, EpollClient { socket, read: Vec::new() });
                        server.next += 1;
                    }
                }
                Token(client) => server.serve(client),
            }
        }
    }
}

impl EpollServer {
    fn serve(&mut self, number: usize) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let mut buffer = [0; 16 << 10];
        loop {
            match client.socket.read(&mut buffer) {
                Ok(0) => return self.forget(number),
                Ok(count) => client.read.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return self.forget(number),
            }
        }
        let mut read = std::mem::take(&mut client.read);
        while let Some(request) = take(&mut read) {
            self.answer(number, request);
        }
        if let Some(client) = self.clients.get_mut(&number) {
            client.read = read;
        }
    }

    fn answer(&mut self, number: usize, request: EpollRequest) {
        match request {
            EpollRequest::Subscribe(channels) => {
                for channel in channels {
                    self.channels.entry(channel).or_default().push(number);
                }
                self.write(number, STREAM);
            }
            EpollRequest::Publish(events) => {
                events.iter().for_each(|(channel, data)| self.send(channel, data));
                self.write(number, PUBLISHED);
            }
        }
    }

    fn send(&mut self, channel: &str, data: &[u8]) {
        let mut chunk = format!("{:X}\r\ndata: ", data.len() + 8).into_bytes();
        chunk.extend_from_slice(data);
        chunk.extend_from_slice(b"\n\n\r\n");
        for subscriber in self.channels.get(channel).cloned().unwrap_or_default() {
            self.write(subscriber, &chunk);
        }
    }

    /// Closes a client that does not accept all bytes at once; the load always does.
    fn write(&mut self, number: usize, bytes: &[u8]) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        if client.socket.write(bytes).ok() != Some(bytes.len()) {
            self.forget(number);
        }
    }

    fn forget(&mut self, number: usize) {
        self.clients.remove(&number);
        self.channels.values_mut().for_each(|of| of.retain(|other| *other != number));
    }
}

enum EpollRequest {
    /// Channels to subscribe to.
    Subscribe(Vec<String>),
    /// Events with their channels.
    Publish(Vec<(String, Vec<u8>)>),
}

/// Removes one complete request from the front.
fn take(read: &mut Vec<u8>) -> Option<EpollRequest> {
    let end = read.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&read[..end]).into_owned();
    let mut words = head.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    let length =
        |line: &str| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok();
    let length = head.lines().find_map(length).unwrap_or(0);
    if read.len() < end + length {
        return None;
    }
    let body = &read[end..end + length];
    let last = path.rsplit('/').next()?;
    let request = match (method, last.split_once('?')) {
        ("POST", _) if last == "publish" => EpollRequest::Publish(batch(body)),
        ("POST", _) => EpollRequest::Publish(vec![(last.to_owned(), body.to_vec())]),
        (_, Some((_, query))) => {
            let channels = query.split('&').filter_map(|pair| pair.strip_prefix("channel="));
            EpollRequest::Subscribe(channels.map(str::to_owned).collect())
        }
        (_, None) => EpollRequest::Subscribe(vec![last.to_owned()]),
    };
    read.drain(..end + length);
    Some(request)
}

/// Events of a batch, in the form that these benchmarks send.
fn batch(body: &[u8]) -> Vec<(String, Vec<u8>)> {
    let text = String::from_utf8_lossy(body);
    let event = |line: &str| {
        let (channel, rest) = line.strip_prefix("{\"channels\":[\"")?.split_once("\"],\"data\":\"")?;
        Some((channel.to_owned(), rest.strip_suffix("\"}")?.replace("\\\"", "\"").into_bytes()))
    };
    text.lines().filter_map(event).collect()
}
