//! The client against a TCP server that sends the bytes of the test.

#![allow(clippy::unwrap_used, reason = "a test whose client or server fails has failed")]

mod publish;
mod stub_server;
mod subscribe;
