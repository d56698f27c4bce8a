//! Reads any lines as a request's cookies.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|lines: Vec<&[u8]>| tidings::fuzzing::cookie(&lines));
