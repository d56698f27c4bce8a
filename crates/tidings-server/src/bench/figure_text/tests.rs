//! Numbers are formatted for readers.

use super::{grouped, milliseconds};

#[test]
fn numbers_have_a_comma_before_every_third_digit() {
    assert_eq!([7, 123, 1_000, 1_234_567].map(grouped), ["7", "123", "1,000", "1,234,567"]);
}

#[test]
fn milliseconds_have_about_three_digits() {
    assert_eq!(
        [0.07, 9.99, 12.34, 12_345.6].map(milliseconds),
        ["0.07 ms", "9.99 ms", "12.3 ms", "12,345 ms"]
    );
}
