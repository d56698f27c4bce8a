//! Reads any bytes as a stored event: a record of a file, and an entry of the log in Redis.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &[u8], Vec<(&[u8], &[u8])>)| {
    let (bytes, id, fields) = input;
    tidings_log::fuzzing::record(bytes);
    tidings::fuzzing::redis_entry(id, &fields);
    let header = b"0000000000000007 00000001 00000002 1800000000000 a b.c";
    let whole: Vec<(&[u8], &[u8])> =
        [(&b"m"[..], &header[..]), (b"d", bytes)].into_iter().chain(fields).collect();
    tidings::fuzzing::redis_entry(b"5-0", &whole);
});
