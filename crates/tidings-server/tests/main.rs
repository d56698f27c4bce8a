//! The program as its users run it: a real process, its output, its exit code, and the bytes on its sockets.

#![allow(clippy::unwrap_used, reason = "a test whose process cannot be run has failed")]

mod process;
mod reader;
mod tokens;
mod wire;

mod behind;
mod bench;
mod check;
mod credentials;
mod faults;
mod flood;
mod guide;
mod history;
mod input;
mod key;
mod limits;
mod open_hub;
mod operating;
mod publish;
mod resume;
mod serve;
mod settings;
mod shell;
mod shutdown;
mod streams;
mod token;
