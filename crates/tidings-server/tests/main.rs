//! The program as its users run it: a real process, its output, its exit code, and the bytes on its sockets.

#![allow(clippy::unwrap_used, reason = "a test whose process cannot be run has failed")]

mod backend;
mod callers;
mod process;
mod reader;
mod redis_server;
mod tokens;
mod ways;
mod wire;

mod behind;
mod bench;
mod carriers;
mod check;
mod conformance;
mod cookies;
mod credentials;
mod crowd;
mod deploy;
mod direct;
mod elsewhere;
mod fairness;
mod faults;
mod flood;
mod guide;
mod heads;
mod hearing;
mod history;
mod hook;
mod input;
mod key;
mod limits;
mod limits_each;
mod matrix;
mod nodes;
mod old_publishers;
mod open_hub;
mod operating;
mod provider;
mod publish;
mod reach;
mod resume;
mod revocations;
mod rights;
mod serve;
mod settings;
mod shell;
mod shutdown;
mod streams;
mod threats;
mod tickets;
mod token;
mod trouble;
mod visitors;
