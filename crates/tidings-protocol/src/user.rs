//! User names as segments of channel names.

/// Returns the name as one segment: bytes outside `A-Za-z0-9_-` become `~` and two hexadecimal digits.
///
/// Different names have different segments. The segment of an empty name is empty.
///
/// ```
/// assert_eq!(tidings_protocol::user_segment("a@b.c"), "a~40b~2ec");
/// ```
pub fn user_segment(name: &str) -> String {
    let mut segment = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' {
            segment.push(char::from(byte));
        } else {
            segment.push_str(&format!("~{byte:02x}"));
        }
    }
    segment
}
