//! Medians, counts and figures.

use super::{count, figure_text, median};

#[test]
fn median_is_the_middle_or_between_the_two_middles() {
    assert!((median([3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
    assert!((median([4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
}

#[test]
fn count_has_a_comma_before_every_third_digit() {
    assert_eq!([count(7.0), count(123.0), count(1_234_567.0)], ["7", "123", "1,234,567"]);
}

#[test]
fn whole_figure_has_no_decimals_and_a_missing_one_is_a_dash() {
    assert_eq!([0.987, 8.0, f64::NAN].map(figure_text), ["0.99", "8", "–"]);
}
