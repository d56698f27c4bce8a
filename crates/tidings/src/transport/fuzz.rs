//! Hook for fuzzing: the framing of HTTP/1 connections.

use super::http1_framing::{FramingError, FramingValidator};

/// Validates any bytes as an HTTP/1 connection, whole and in portions of `portion` bytes.
///
/// # Panics
/// If the portions find another fault than the whole, or if a head with a bare line end passes.
pub fn framing(bytes: &[u8], portion: usize) {
    let whole = validate(&[bytes]);
    let portions: Vec<&[u8]> = bytes.chunks(portion.max(1)).collect();
    assert_eq!(validate(&portions), whole);
    let passed = &bytes[..whole.0];
    if !passed.starts_with(b"PRI ") {
        let head =
            passed.windows(4).position(|window| window == b"\r\n\r\n").map_or(passed, |at| &passed[..at]);
        assert!(!has_bare_line_end(head));
    }
}

/// Returns the number of bytes that pass, and the fault after them.
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

/// Whether a line end of a head is bare.
fn has_bare_line_end(head: &[u8]) -> bool {
    let before = |at: usize| at.checked_sub(1).map(|at| head[at]);
    (0..head.len()).any(|at| match head[at] {
        b'\n' => before(at) != Some(b'\r'),
        _ => before(at) == Some(b'\r'),
    })
}
