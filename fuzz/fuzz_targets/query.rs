//! Reads any text as the query of a request.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| tidings::fuzzing::query(text));
