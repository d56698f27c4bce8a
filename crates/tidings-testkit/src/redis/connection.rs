//! A client of Redis that speaks RESP 2.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::DEADLINE;

/// A reply of Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RespReply {
    Null,
    Integer(i64),
    /// A simple or bulk string, read as UTF-8.
    Text(String),
    Error(String),
    List(Vec<Self>),
}

impl RespReply {
    /// Returns the integer. Panics on any other reply.
    #[track_caller]
    pub fn integer(&self) -> i64 {
        match self {
            Self::Integer(number) => *number,
            other => panic!("not an integer: {other:?}"),
        }
    }

    /// Returns the string. Panics on any other reply.
    #[track_caller]
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            other => panic!("not a string: {other:?}"),
        }
    }

    /// Returns the array. Panics on any other reply.
    #[track_caller]
    pub fn list(self) -> Vec<Self> {
        match self {
            Self::List(replies) => replies,
            other => panic!("not an array: {other:?}"),
        }
    }
}

/// A connection to a Redis.
#[derive(Debug)]
pub struct RespConnection(BufReader<TcpStream>);

impl RespConnection {
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(DEADLINE))?;
        socket.set_nodelay(true)?;
        Ok(Self(BufReader::new(socket)))
    }

    /// Waits until the other side has closed the connection; false if it sends bytes instead.
    pub fn is_closed(&mut self) -> bool {
        self.0.fill_buf().map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, <[u8]>::is_empty)
    }

    /// Sends a command and returns the reply, which may be an error reply.
    #[track_caller]
    pub fn command(&mut self, words: &[&str]) -> RespReply {
        self.try_command(words).unwrap_or_else(|error| panic!("{}: {error}", words.join(" ")))
    }

    /// Sends a command and returns the reply, which may be an error reply.
    pub fn try_command(&mut self, words: &[&str]) -> io::Result<RespReply> {
        self.send(words)?;
        self.try_reply()
    }

    /// Sends a command without reading its reply.
    pub fn send(&mut self, words: &[&str]) -> io::Result<()> {
        let words = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
        let text = format!("*{}\r\n{}", words.len(), words.collect::<String>());
        self.0.get_mut().write_all(text.as_bytes())
    }

    /// Reads a reply, or a message of a channel that the connection is subscribed to.
    #[track_caller]
    pub fn reply(&mut self) -> RespReply {
        self.try_reply().unwrap_or_else(|error| panic!("no reply of Redis: {error}"))
    }

    /// Reads a reply, or a message of a channel that the connection is subscribed to.
    pub fn try_reply(&mut self) -> io::Result<RespReply> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let invalid = || io::Error::other(format!("not a reply: {line:?}"));
        let (kind, rest) = line.trim_end().split_at_checked(1).ok_or_else(invalid)?;
        let number = || rest.parse::<i64>().map_err(|_| invalid());
        Ok(match kind {
            "+" => RespReply::Text(rest.to_owned()),
            "-" => RespReply::Error(rest.to_owned()),
            ":" => RespReply::Integer(number()?),
            "$" | "*" if rest == "-1" => RespReply::Null,
            "$" => {
                let length = usize::try_from(number()?).map_err(|_| invalid())?;
                let mut bytes = vec![0; length + 2];
                self.0.read_exact(&mut bytes)?;
                RespReply::Text(String::from_utf8_lossy(&bytes[..length]).into_owned())
            }
            "*" => RespReply::List((0..number()?).map(|_| self.try_reply()).collect::<io::Result<_>>()?),
            _ => return Err(invalid()),
        })
    }
}
