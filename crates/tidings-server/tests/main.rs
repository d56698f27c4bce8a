//! The program as its users run it: a real process, its output and its exit code.

#![allow(clippy::unwrap_used, reason = "a test whose process cannot be run has failed")]

mod check;
mod process;
mod serve;
mod settings;
