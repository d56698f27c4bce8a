//! Publish rates are read from text.

use super::PublishRate;

#[test]
fn rate_is_a_number_or_max() {
    assert_eq!("max".parse(), Ok(PublishRate::Max));
    assert_eq!("0.5".parse(), Ok(PublishRate::Paced(0.5)));
    for text in ["", "fast", "-1", "nan", "inf", "1e9"] {
        assert!(text.parse::<PublishRate>().unwrap_err().contains("neither max nor"), "{text}");
    }
}
