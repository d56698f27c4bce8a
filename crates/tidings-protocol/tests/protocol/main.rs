//! The wire cases of `conformance/`, and properties that hold for every input.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics, in its helpers too")]

mod cases;
mod conformance_bodies;
mod conformance_names;
mod conformance_sse;
mod cross_check;
mod properties;
