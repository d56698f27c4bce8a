//! Stamps are read back wherever a server puts them.

use super::{Stamp, StampCodec};

const STAMP: Stamp = Stamp { channel: 99_999, producer: 63, number: 9_999_999, micros: 9_999_999_999 };

#[test]
fn stamp_is_read_back_as_written_in_a_text_of_the_size_asked_for() {
    let codec = StampCodec::new(0xbe);
    for stamp in [STAMP, Stamp { channel: 0, producer: 0, number: 0, micros: 0 }] {
        for bytes in [64, 100, 1_000] {
            let mut text = b"before".to_vec();
            codec.write(stamp, bytes, &mut text);
            assert_eq!(text.len(), 6 + bytes);
            assert_eq!(codec.read(&text), Some(stamp));
            let escaped = String::from_utf8(text).unwrap().replace('"', "\\\"");
            assert_eq!(codec.read(escaped.as_bytes()), Some(stamp));
        }
    }
}

#[test]
fn text_of_another_run_or_without_a_whole_stamp_has_none() {
    let mut text = Vec::new();
    StampCodec::new(1).write(STAMP, 64, &mut text);
    assert_eq!(StampCodec::new(2).read(&text), None);
    for text in ["", "00000001.", "00000001.1.2.3", "00000001.1.2.3.", "00000001.1.2.99999999999.4"] {
        assert_eq!(StampCodec::new(1).read(text.as_bytes()), None, "{text}");
    }
}
