//! Values that stand in bodies, headers and queries: keys and times to live.

use std::time::Duration;

use crate::quote::quoted;
use crate::text::message_error;

/// Bytes of a key or an idempotency key, at most.
pub const KEY_BYTES_MAX: usize = 200;

/// Longest time to live: ten years of 365 days.
pub const TTL_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

message_error! {
    /// Error of a key or a time to live, with the text of a problem's detail.
    ValueError
}

/// Checks a key or an idempotency key: 1 to [`KEY_BYTES_MAX`] bytes without control characters.
///
/// # Errors
/// [`ValueError`], which calls the key `name`.
pub fn check_key(name: &str, key: &str) -> Result<(), ValueError> {
    if key.is_empty() {
        let text = format!("{name} is empty; it has 1 to {KEY_BYTES_MAX} bytes, or leave it out");
        return Err(ValueError(text));
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(ValueError(format!("{name} is {} bytes; limit is {KEY_BYTES_MAX}", key.len())));
    }
    if key.chars().any(char::is_control) {
        return Err(ValueError(format!("{name} {} has control characters; leave them out", quoted(key))));
    }
    Ok(())
}

/// Parses a time to live: a whole number of milliseconds from 1 to [`TTL_MAX`].
///
/// # Errors
/// [`ValueError`] for any other text.
pub fn parse_ttl(text: &str) -> Result<Duration, ValueError> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let ttl = is_number.then(|| text.parse().ok().map(Duration::from_millis)).flatten();
    ttl.filter(|ttl| !ttl.is_zero() && *ttl <= TTL_MAX).ok_or_else(|| {
        ValueError(format!(
            "ttl {} is not a whole number of milliseconds from 1 to {}",
            quoted(text),
            TTL_MAX.as_millis()
        ))
    })
}

#[cfg(test)]
mod tests;
