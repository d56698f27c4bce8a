//! Hooks for fuzzing: queries and cookies.

use http::{HeaderMap, HeaderValue, Uri, header::COOKIE};

use super::{credentials, parameters, parameters::Query};

/// Reads a text as the query of a request, and each value as each kind of parameter.
///
/// # Panics
/// If a parameter that may appear once has two values.
pub fn query(text: &str) {
    let Ok(uri) = Uri::try_from(format!("/api/v1/events?{text}")) else { return };
    let query = Query::of(&uri);
    let _ = query.only(&["channel"]);
    for name in ["channel", "lastEventId", "history", "ticket"] {
        let values: Vec<&str> = query.all(name).collect();
        if let Ok(one) = query.one(name) {
            assert!(values.iter().all(|value| Some(*value) == one || value.is_empty()));
        }
        for value in values {
            let is_channel = parameters::channel(value).is_ok();
            assert!(!is_channel || parameters::subscription(value).is_ok());
        }
    }
    let _ = parameters::decoded(text);
}

/// Reads lines of a request's cookies.
///
/// # Panics
/// If the found value is in no line, or if two different values give one.
pub fn cookie(lines: &[&[u8]]) {
    let mut headers = HeaderMap::new();
    for line in lines {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(COOKIE, value);
        }
    }
    let Some(found) = credentials::cookie(&headers, "session") else { return };
    let text = found.reveal();
    let texts: Vec<_> =
        headers.get_all(COOKIE).iter().map(|it| String::from_utf8_lossy(it.as_bytes())).collect();
    assert!(!text.contains(';') && texts.iter().any(|line| line.contains("session") && line.contains(text)));
}
