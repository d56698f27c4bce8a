//! Validates any bytes as an HTTP/1 connection, whole and in portions.
#![no_main]

use libfuzzer_sys::fuzz_target;

// It is private to the hub's crate, and needs nothing of it.
#[allow(dead_code)]
#[path = "../../crates/tidings/src/transport/http1_framing.rs"]
mod http1_framing;

use http1_framing::{FramingError, FramingValidator};

/// How much passes, and what is at fault then.
fn validate(portions: &[&[u8]]) -> (usize, Option<FramingError>) {
    let mut validator = FramingValidator::new();
    let mut passed = 0;
    for portion in portions {
        if let Err(fault) = validator.feed(portion) {
            assert!(fault.at < portion.len());
            assert!(validator.feed(b"G").is_err(), "nothing passes behind a fault");
            return (passed + fault.at, Some(FramingError { at: 0, ..fault }));
        }
        passed += portion.len();
    }
    (passed, None)
}

/// Whether a line end of a head is bare, which no head that passes may have.
fn has_bare_line_end(head: &[u8]) -> bool {
    let before = |at: usize| at.checked_sub(1).map(|at| head[at]);
    (0..head.len()).any(|at| match head[at] {
        b'\n' => before(at) != Some(b'\r'),
        _ => before(at) == Some(b'\r'),
    })
}

fuzz_target!(|input: (&[u8], u8)| {
    let (bytes, portion) = input;
    let whole = validate(&[bytes]);
    let portions: Vec<&[u8]> = bytes.chunks(usize::from(portion).max(1)).collect();
    assert_eq!(validate(&portions), whole);
    let passed = &bytes[..whole.0];
    if !passed.starts_with(b"PRI ") {
        let head = passed.windows(4).position(|window| window == b"\r\n\r\n").map_or(passed, |at| &passed[..at]);
        assert!(!has_bare_line_end(head));
    }
});
