//! Geometry of the chart.

use super::{ChartPanel, draw, short};

#[test]
fn bar_is_as_long_as_its_value_and_ours_has_a_colour_of_its_own() {
    let bars = vec![("tidings".to_owned(), 1.0), ("a < b".to_owned(), 2.0)];
    let svg = draw(&[ChartPanel { title: "CPU".to_owned(), bars, unit: " ×", reference: Some(1.0) }]);
    assert!(svg.contains("class=\"own\" x=\"166.0\" y=\"46.0\" width=\"235.0\""), "{svg}");
    assert!(svg.contains("class=\"bar\" x=\"166.0\" y=\"67.0\" width=\"470.0\""), "{svg}");
    assert!(svg.contains("x1=\"401.0\"") && svg.contains(">a &lt; b<") && svg.contains(">2.00 ×<"), "{svg}");
}

#[test]
fn panel_without_bars_is_left_out() {
    let empty = ChartPanel { title: "none".to_owned(), bars: Vec::new(), unit: "", reference: None };
    assert!(!draw(&[empty]).contains("none"));
}

#[test]
fn value_has_three_digits_or_more() {
    assert_eq!([short(0.987), short(12.34), short(1234.4)], ["0.99", "12.3", "1,234"]);
}
