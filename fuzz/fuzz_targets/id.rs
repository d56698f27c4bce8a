//! Reads any text as an event id.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings_protocol::EventId;

fuzz_target!(|text: &str| {
    match text.parse::<EventId>() {
        Ok(id) => {
            assert_eq!(id.to_string(), text);
            assert!(text.len() <= EventId::BYTES_MAX && id.skips.len() <= EventId::SKIPS_MAX);
            assert!(id.skips.is_sorted_by(|one, next| one.offset < next.offset));
            assert!(id.skips.iter().all(|skip| skip.offset > id.offset));
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte)));
        }
        Err(error) => assert!(error.to_string().len() < 1000),
    }
});
