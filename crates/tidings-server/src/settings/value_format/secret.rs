//! Formats of values that are, or may hold, a secret. No message shows such a value.

use tidings::config::{RedisUrl, Secret};

use super::base::{NONE, RawValue, ValueFormat, toml_text};

pub(crate) struct SecretFormat;
/// The URL of a Redis. The empty URL is a hub without Redis.
pub(crate) struct RedisUrlFormat;

const NOT_A_TEXT: &str = "is not one text in quotes; its value is not shown here";

impl ValueFormat for SecretFormat {
    type Value = Secret;
    const NAME: &'static str = "secret text";

    fn read(raw: &RawValue) -> Result<Secret, String> {
        match raw {
            RawValue::Text(text) if text.is_empty() => {
                Err("is empty; leave it out, or make one with `openssl rand -base64 48`".to_owned())
            }
            RawValue::Text(text) => Ok(Secret::new(text)),
            RawValue::Bare(_) | RawValue::List(_) | RawValue::Keys(_) | RawValue::Nothing => {
                Err(NOT_A_TEXT.to_owned())
            }
        }
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
        match raw {
            RawValue::Text(text) if text.is_empty() => {
                Err("is empty; leave it out, or name a Redis".to_owned())
            }
            RawValue::Text(text) if text == NONE => Ok(RedisUrl::default()),
            RawValue::Text(text) => {
                let url = RedisUrl::new(text);
                url.address().map_err(str::to_owned)?;
                Ok(url)
            }
            RawValue::Bare(_) | RawValue::List(_) | RawValue::Keys(_) | RawValue::Nothing => {
                Err(NOT_A_TEXT.to_owned())
            }
        }
    }

    fn show(value: &RedisUrl) -> String {
        let text = value.to_string();
        toml_text(if value.is_empty() { NONE } else { &text })
    }
}
