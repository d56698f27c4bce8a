//! Reads any bytes as replies of Redis.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| tidings::fuzzing::resp(bytes));
