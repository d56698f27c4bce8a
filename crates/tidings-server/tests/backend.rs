//! A backend on loopback that is asked as a hook, notes every question, and answers as it is told.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
};

use serde_json::Value;
use tidings_testkit::eventually;

/// What it answers with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reply {
    /// A status, and this body.
    Status(u16, &'static str),
    /// These headers besides, each with its end of line.
    Redirect(String),
    /// Nothing, for as long as this is what it is told.
    Silence,
    /// The end of the connection.
    Close,
}

pub(crate) const YES: Reply = Reply::Status(200, "{\"allow\":true}");
pub(crate) const NO: Reply = Reply::Status(200, "{\"allow\":false}");

pub(crate) struct Backend {
    address: SocketAddr,
    told: Arc<Told>,
}

struct Told {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    reply: Reply,
    /// Heads and bodies of requests.
    requests: Vec<(String, String)>,
}

impl Backend {
    pub(crate) fn start(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Mutex::new(State { reply, requests: Vec::new() });
        let told = Arc::new(Told { state, changed: Condvar::new() });
        let kept = told.clone();
        thread::spawn(move || {
            for socket in listener.incoming() {
                let told = kept.clone();
                thread::spawn(move || told.serve(&socket.unwrap()));
            }
        });
        Self { address, told }
    }

    /// The line of the setting that has it asked.
    pub(crate) fn line(&self) -> String {
        format!("hook = \"http://{}/allow?by=tidings\"\n", self.address)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn replies(&self, reply: Reply) {
        self.told.state.lock().unwrap().reply = reply;
        self.told.changed.notify_all();
    }

    pub(crate) fn requests(&self) -> Vec<(String, String)> {
        self.told.state.lock().unwrap().requests.clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.told.state.lock().unwrap().requests.len()
    }

    /// The questions since the last call.
    pub(crate) fn questions(&self) -> Vec<Value> {
        let requests = std::mem::take(&mut self.told.state.lock().unwrap().requests);
        requests.iter().map(|(_, body)| serde_json::from_str(body).unwrap()).collect()
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, requests: usize) {
        eventually("the hook is asked", || self.count() >= requests);
    }
}

impl Told {
    /// Serves one connection to its end.
    fn serve(&self, socket: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(socket.try_clone().ok()?);
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head).ok()? == 0 {
                    return None;
                }
            }
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
            });
            let mut body = vec![0; length.unwrap_or_default()];
            reader.read_exact(&mut body).ok()?;
            self.answer(socket, head, String::from_utf8(body).unwrap())?;
        }
    }

    fn answer(&self, mut socket: &TcpStream, head: String, body: String) -> Option<()> {
        let mut state = self.state.lock().unwrap();
        state.requests.push((head, body));
        self.changed.notify_all();
        while state.reply == Reply::Silence {
            state = self.changed.wait(state).unwrap();
        }
        let reply = state.reply.clone();
        drop(state);
        let (status, more, body) = match reply {
            Reply::Status(status, body) => (status, String::new(), body),
            Reply::Redirect(to) => (302, format!("Location: {to}\r\n"), ""),
            Reply::Silence | Reply::Close => {
                socket.shutdown(Shutdown::Both).ok()?;
                return None;
            }
        };
        let length = body.len();
        let answer = format!("HTTP/1.1 {status} It\r\n{more}Content-Length: {length}\r\n\r\n{body}");
        socket.write_all(answer.as_bytes()).ok()
    }
}
