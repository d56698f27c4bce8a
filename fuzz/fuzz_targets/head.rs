//! Validates any bytes as an HTTP/1 connection, whole and in portions.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], u8)| tidings::fuzzing::framing(input.0, usize::from(input.1)));
