//! The floor: what the kernel charges. One thread with an event queue, one write for each subscriber of an event, and
//! nothing else: no ids, no keep-alives, no bounds, no care for whoever is slow. It serves just the load of these benches.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
};

use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};

const LISTENER: Token = Token(usize::MAX);
const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n\
    transfer-encoding: chunked\r\n\r\n";
const PUBLISHED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

struct Client {
    socket: TcpStream,
    /// What came of a request that is not whole.
    read: Vec<u8>,
}

#[derive(Default)]
struct Floor {
    clients: HashMap<usize, Client>,
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
    let mut floor = Floor::default();
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            match event.token() {
                LISTENER => {
                    while let Ok((mut socket, _)) = listener.accept() {
                        socket.set_nodelay(true)?;
                        let interest = Interest::READABLE;
                        poll.registry().register(&mut socket, Token(floor.next), interest)?;
                        floor.clients.insert(floor.next, Client { socket, read: Vec::new() });
                        floor.next += 1;
                    }
                }
                Token(client) => floor.serve(client),
            }
        }
    }
}

impl Floor {
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
            self.answer(number, &request);
        }
        if let Some(client) = self.clients.get_mut(&number) {
            client.read = read;
        }
    }

    fn answer(&mut self, number: usize, request: &Request) {
        let Some(data) = &request.data else {
            self.channels.entry(request.channel.clone()).or_default().push(number);
            return self.write(number, STREAM);
        };
        let mut chunk = format!("{:X}\r\ndata: ", data.len() + 8).into_bytes();
        chunk.extend_from_slice(data);
        chunk.extend_from_slice(b"\n\n\r\n");
        for subscriber in self.channels.get(&request.channel).cloned().unwrap_or_default() {
            self.write(subscriber, &chunk);
        }
        self.write(number, PUBLISHED);
    }

    /// Whoever does not take it whole is let go: the load of these benches always does.
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

struct Request {
    channel: String,
    /// What a publish says; a subscription says nothing.
    data: Option<Vec<u8>>,
}

/// Takes one whole request off the front.
fn take(read: &mut Vec<u8>) -> Option<Request> {
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
    let data = (method == "POST").then(|| read[end..end + length].to_vec());
    let channel = path.rsplit('/').next()?.split('?').next()?.to_owned();
    read.drain(..end + length);
    Some(Request { channel, data })
}
