//! How the values of `[redis]` are written. What may hold a password is in no message.

use tidings::config::RedisUrl;
use tidings::protocol::Pattern;

use super::{NONE, RawValue, TextsFormat, ValueFormat, list, quoted, toml_text};

pub(crate) struct RedisUrlTextFormat;
pub(crate) struct PatternsFormat;

/// `None` is a hub without Redis.
impl ValueFormat for RedisUrlTextFormat {
    type Value = RedisUrl;
    const NAME: &'static str = "URL, or `none`";

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
                Err("is not one text in quotes; its value is not shown here".to_owned())
            }
        }
    }

    fn show(value: &RedisUrl) -> String {
        let text = value.to_string();
        toml_text(if value.is_empty() { NONE } else { &text })
    }
}

impl ValueFormat for PatternsFormat {
    type Value = Vec<Pattern>;
    const NAME: &'static str = "list of patterns";

    fn read(raw: &RawValue) -> Result<Vec<Pattern>, String> {
        let parse = |text: String| {
            let pattern = Pattern::parse(&text);
            pattern.map_err(|fault| format!("has {}, which is not a pattern: {fault}", quoted(&text)))
        };
        list(raw)?.into_iter().map(parse).collect()
    }

    fn show(value: &Vec<Pattern>) -> String {
        TextsFormat::show(&value.iter().map(ToString::to_string).collect())
    }
}
