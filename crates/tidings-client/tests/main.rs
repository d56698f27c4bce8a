//! The client against a real TCP server that says exactly what a test scripts.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod publish;
mod stub_server;
mod subscribe;
