//! Formats of one value: durations, sizes, counts, booleans, words, texts.

use std::time::Duration;

use tidings::config::{Durability, Envelope, bounds};

use super::base::{RawValue, ValueFormat, describe, mismatch, scalar, shortened, suggest_word, toml_text};

pub(crate) struct DurationFormat;
pub(crate) struct SizeFormat;
pub(crate) struct CountFormat;
pub(crate) struct BoolFormat;
pub(crate) struct DurabilityFormat;
pub(crate) struct EnvelopeFormat;
pub(crate) struct TextFormat;

/// Reads a duration of a flag. The error continues the flag's name.
pub(crate) fn read_duration(text: &str) -> Result<Duration, String> {
    DurationFormat::read(&RawValue::Text(text.to_owned()))
}

/// Splits a text after its leading digits.
fn split_unit(text: &str) -> (&str, &str) {
    text.split_at(text.find(|symbol: char| !symbol.is_ascii_digit()).unwrap_or(text.len()))
}

/// Reads digits, times the value of their unit; `None` if 64 bits cannot hold the product.
fn product(digits: &str, unit: u64) -> Option<u64> {
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

impl ValueFormat for DurationFormat {
    type Value = Duration;
    const NAME: &'static str = "duration";

    fn read(raw: &RawValue) -> Result<Duration, String> {
        let text = scalar(raw, "a duration")?;
        let (digits, unit) = split_unit(&text);
        let milliseconds = match unit {
            _ if digits.is_empty() => {
                return Err(mismatch(&text, "a duration: digits and one of ms, s, m, h, d"));
            }
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "" => {
                let found = shortened(&text);
                return Err(format!("is {found}, which has no unit; write ms, s, m, h or d after it"));
            }
            _ => return Err(mismatch(&text, "a duration: its unit is one of ms, s, m, h, d")),
        };
        let total = product(digits, milliseconds).map(Duration::from_millis);
        total.ok_or_else(|| format!("is {}, which is too long", shortened(&text)))
    }

    fn show(value: &Duration) -> String {
        format!("\"{}\"", bounds::duration_text(*value))
    }
}

impl ValueFormat for SizeFormat {
    type Value = u64;
    const NAME: &'static str = "size";

    fn read(raw: &RawValue) -> Result<u64, String> {
        let text = scalar(raw, "a size")?;
        let (digits, unit) = split_unit(&text);
        let bytes = match unit {
            _ if digits.is_empty() => {
                return Err(mismatch(&text, "a size: bytes, or digits and one of KiB, MiB, GiB"));
            }
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            "kB" | "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            _ => {
                let wanted = "a size: its unit is one of B, KiB, MiB, GiB, TiB, kB, MB, GB, TB";
                return Err(mismatch(&text, wanted));
            }
        };
        product(digits, bytes).ok_or_else(|| format!("is {}, which is too large", shortened(&text)))
    }

    fn show(value: &u64) -> String {
        format!("\"{}\"", bounds::size_text(*value))
    }
}

impl ValueFormat for CountFormat {
    type Value = u64;
    const NAME: &'static str = "number";

    fn read(raw: &RawValue) -> Result<u64, String> {
        let text = scalar(raw, "a whole number")?;
        let digits: String = text.chars().filter(|symbol| *symbol != '_').collect();
        let is_whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        match digits.parse() {
            Ok(count) if is_whole => Ok(count),
            _ if is_whole => Err(format!("is {}, which is too large", shortened(&text))),
            _ => Err(mismatch(&text, "a whole number")),
        }
    }

    fn show(value: &u64) -> String {
        value.to_string()
    }
}

impl ValueFormat for BoolFormat {
    type Value = bool;
    const NAME: &'static str = "`true` or `false`";

    fn read(raw: &RawValue) -> Result<bool, String> {
        let text = scalar(raw, "true or false")?;
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(mismatch(&text, "true or false")),
        }
    }

    fn show(value: &bool) -> String {
        value.to_string()
    }
}

/// Implements a format whose values are one of a few words.
macro_rules! word_format {
    ($format:ident, $value:ident, $name:literal) => {
        impl ValueFormat for $format {
            type Value = $value;
            const NAME: &'static str = $name;

            fn read(raw: &RawValue) -> Result<$value, String> {
                let word = scalar(raw, "a word")?;
                word.parse().map_err(|unknown| format!("{unknown}{}", suggest_word(&word, $value::WORDS)))
            }

            fn show(value: &$value) -> String {
                format!("\"{value}\"")
            }
        }
    };
}

word_format!(DurabilityFormat, Durability, "`memory`, `interval` or `fsync`");
word_format!(EnvelopeFormat, Envelope, "`any` or `strict`");

impl ValueFormat for TextFormat {
    type Value = String;
    const NAME: &'static str = "text";

    fn read(raw: &RawValue) -> Result<String, String> {
        match raw {
            RawValue::Bare(_) => Err(format!("is {}; a text stands in quotes", describe(raw))),
            _ => scalar(raw, "a text"),
        }
    }

    fn show(value: &String) -> String {
        toml_text(value)
    }
}
