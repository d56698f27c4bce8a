//! Formats of values that are, or may hold, a secret. No message shows such a value.

use tidings::config::{RedisUrl, Secret};

use super::base::{NONE, RawValue, ValueFormat, toml_text};

pub(crate) struct SecretFormat;
/// The URL of a Redis. The empty URL is a hub without Redis.
pub(crate) struct RedisUrlFormat;

/// Reads one text. The error shows no part of it; `advice` is for an empty one.
fn secret_text<'r>(raw: &'r RawValue, advice: &str) -> Result<&'r str, String> {
    match raw {
        RawValue::Text(text) if text.is_empty() => Err(format!("is empty; leave it out, or {advice}")),
        RawValue::Text(text) => Ok(text),
        RawValue::Bare(_) | RawValue::List(_) | RawValue::Keys(_) | RawValue::Nothing => {
            Err("is not one text in quotes; its value is not shown here".to_owned())
        }
    }
}

impl ValueFormat for SecretFormat {
    type Value = Secret;
    const NAME: &'static str = "secret text";

    fn read(raw: &RawValue) -> Result<Secret, String> {
        secret_text(raw, "make one with `openssl rand -base64 48`").map(Secret::new)
    }

    fn show(value: &Secret) -> String {
        format!("\"{value}\"")
    }
}

impl ValueFormat for RedisUrlFormat {
    type Value = RedisUrl;
    const NAME: &'static str = "URL";
    const IS_OPTIONAL: bool = true;

    fn read(raw: &RawValue) -> Result<RedisUrl, String> {
        let text = secret_text(raw, "name a Redis")?;
        if text == NONE {
            return Ok(RedisUrl::default());
        }
        let url = RedisUrl::new(text);
        url.address().map_err(str::to_owned)?;
        Ok(url)
    }

    fn show(value: &RedisUrl) -> String {
        let text = value.to_string();
        toml_text(if value.is_empty() { NONE } else { &text })
    }
}
