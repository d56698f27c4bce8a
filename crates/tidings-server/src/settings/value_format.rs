//! How values are written in settings: durations, sizes, counts, words, lists; read from one text, shown as TOML.

mod auth;
mod redis;

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use tidings::config::{Durability, Envelope, KeySettings, bounds};

pub(crate) use self::auth::{
    AlgorithmsFormat, KeysFormat, OptionalFileFormat, OptionalTextFormat, SecretTextFormat, TextFormat,
};
pub(crate) use self::redis::{PatternsFormat, RedisUrlTextFormat};

/// A value as somebody wrote it, before its setting gives it a meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RawValue {
    /// Text: a variable, a flag, or a TOML string. A list may be written so, with commas.
    Text(String),
    /// A TOML number, boolean or date as it stands in the file.
    Bare(String),
    /// A list of texts.
    List(Vec<String>),
    /// API keys, which only a file can hold.
    Keys(Vec<KeySettings>),
    /// A flag that says there is no such thing: `--memory`.
    Nothing,
}

/// The word that takes an optional value away.
const NONE: &str = "none";

/// One way of writing values.
pub(crate) trait ValueFormat {
    /// What it is read into.
    type Value;
    /// Its name in the manual.
    const NAME: &'static str;
    /// Reads a value; the error goes on after the setting's name: `is "5 apples"; …`.
    fn read(raw: &RawValue) -> Result<Self::Value, String>;
    /// Shows a value as `tidings.toml` has it.
    fn show(value: &Self::Value) -> String;
}

pub(crate) struct DurationFormat;
pub(crate) struct OptionalDurationFormat;
pub(crate) struct SizeFormat;
pub(crate) struct CountFormat;
pub(crate) struct OptionalCountFormat;
pub(crate) struct SwitchFormat;
pub(crate) struct DurabilityWordFormat;
pub(crate) struct EnvelopeWordFormat;
pub(crate) struct DirectoryFormat;
pub(crate) struct AddressesFormat;
pub(crate) struct TextsFormat;

/// Reads a duration that is no setting, as settings write it; the error goes on after its name.
pub(crate) fn read_duration(text: &str) -> Result<Duration, String> {
    DurationFormat::read(&RawValue::Text(text.to_owned()))
}

/// A bound in words, in the form of its values.
pub(crate) fn between<F: ValueFormat>(bound: &RangeInclusive<F::Value>) -> String {
    format!("{} to {}", F::show(bound.start()), F::show(bound.end()))
}

impl ValueFormat for DurationFormat {
    type Value = Duration;
    const NAME: &'static str = "duration";

    fn read(raw: &RawValue) -> Result<Duration, String> {
        let text = scalar(raw, "a duration")?;
        let unit_start = text.find(|symbol: char| !symbol.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(unit_start);
        let milliseconds: u64 = match unit {
            _ if digits.is_empty() => return Err(not(&text, "a duration: digits and one of ms, s, m, h, d")),
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "" => {
                return Err(format!(
                    "is {}, which has no unit; write ms, s, m, h or d after it",
                    quoted(&text)
                ));
            }
            _ => return Err(not(&text, "a duration: its unit is one of ms, s, m, h, d")),
        };
        let total = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(milliseconds));
        total.map(Duration::from_millis).ok_or_else(|| format!("is {}, which is too long", quoted(&text)))
    }

    fn show(value: &Duration) -> String {
        format!("\"{}\"", bounds::duration_text(*value))
    }
}

impl ValueFormat for OptionalDurationFormat {
    type Value = Option<Duration>;
    const NAME: &'static str = "duration, or `none`";

    fn read(raw: &RawValue) -> Result<Option<Duration>, String> {
        match raw {
            RawValue::Text(text) if text == NONE => Ok(None),
            _ => DurationFormat::read(raw).map(Some),
        }
    }

    fn show(value: &Option<Duration>) -> String {
        value.as_ref().map_or_else(|| format!("\"{NONE}\""), DurationFormat::show)
    }
}

impl ValueFormat for SizeFormat {
    type Value = u64;
    const NAME: &'static str = "size";

    fn read(raw: &RawValue) -> Result<u64, String> {
        let text = scalar(raw, "a size")?;
        let unit_start = text.find(|symbol: char| !symbol.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(unit_start);
        let bytes: u64 = match unit {
            _ if digits.is_empty() => {
                return Err(not(&text, "a size: bytes, or digits and one of KiB, MiB, GiB"));
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
            _ => return Err(not(&text, "a size: its unit is one of B, KiB, MiB, GiB, TiB, kB, MB, GB, TB")),
        };
        let total = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(bytes));
        total.ok_or_else(|| format!("is {}, which is too large", quoted(&text)))
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
        let whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        match digits.parse() {
            Ok(count) if whole => Ok(count),
            _ if whole => Err(format!("is {}, which is too large", quoted(&text))),
            _ => Err(not(&text, "a whole number")),
        }
    }

    fn show(value: &u64) -> String {
        value.to_string()
    }
}

impl ValueFormat for OptionalCountFormat {
    type Value = Option<u64>;
    const NAME: &'static str = "number, or `none`";

    fn read(raw: &RawValue) -> Result<Option<u64>, String> {
        match raw {
            RawValue::Text(text) if text == NONE => Ok(None),
            _ => CountFormat::read(raw).map(Some),
        }
    }

    fn show(value: &Option<u64>) -> String {
        value.as_ref().map_or_else(|| format!("\"{NONE}\""), CountFormat::show)
    }
}

impl ValueFormat for SwitchFormat {
    type Value = bool;
    const NAME: &'static str = "`true` or `false`";

    fn read(raw: &RawValue) -> Result<bool, String> {
        let text = scalar(raw, "true or false")?;
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(not(&text, "true or false")),
        }
    }

    fn show(value: &bool) -> String {
        value.to_string()
    }
}

impl ValueFormat for DurabilityWordFormat {
    type Value = Durability;
    const NAME: &'static str = "`memory`, `interval` or `fsync`";

    fn read(raw: &RawValue) -> Result<Durability, String> {
        let word = scalar(raw, "a word")?;
        word.parse().map_err(|unknown| format!("{unknown}{}", nearest_word(&word, Durability::WORDS)))
    }

    fn show(value: &Durability) -> String {
        format!("\"{value}\"")
    }
}

impl ValueFormat for EnvelopeWordFormat {
    type Value = Envelope;
    const NAME: &'static str = "`any` or `strict`";

    fn read(raw: &RawValue) -> Result<Envelope, String> {
        let word = scalar(raw, "a word")?;
        word.parse().map_err(|unknown| format!("{unknown}{}", nearest_word(&word, Envelope::WORDS)))
    }

    fn show(value: &Envelope) -> String {
        format!("\"{value}\"")
    }
}

impl ValueFormat for DirectoryFormat {
    type Value = Option<PathBuf>;
    const NAME: &'static str = "path";

    fn read(raw: &RawValue) -> Result<Option<PathBuf>, String> {
        match raw {
            RawValue::Nothing => Ok(None),
            RawValue::Text(text) if text.is_empty() => {
                Err("is empty; pass --memory to keep everything in memory".into())
            }
            RawValue::Text(text) if text.contains('\0') => {
                Err(format!("is {}; a path has no NUL", quoted(text)))
            }
            RawValue::Text(text) => Ok(Some(PathBuf::from(text))),
            RawValue::Bare(_) | RawValue::List(_) | RawValue::Keys(_) => {
                Err(format!("is {}; a path is one text", written(raw)))
            }
        }
    }

    fn show(value: &Option<PathBuf>) -> String {
        value.as_ref().map_or_else(
            || "none, everything in memory".to_owned(),
            |path| toml_text(&path.to_string_lossy()),
        )
    }
}

impl ValueFormat for AddressesFormat {
    type Value = Vec<SocketAddr>;
    const NAME: &'static str = "list of addresses";

    fn read(raw: &RawValue) -> Result<Vec<SocketAddr>, String> {
        let mut addresses = Vec::new();
        for text in list(raw)? {
            let address = read_address(&text)?;
            if address.port() != 0 && addresses.contains(&address) {
                return Err(format!("has {address} twice; once is enough"));
            }
            addresses.push(address);
        }
        Ok(addresses)
    }

    fn show(value: &Vec<SocketAddr>) -> String {
        let texts: Vec<String> = value.iter().map(|address| format!("\"{address}\"")).collect();
        format!("[{}]", texts.join(", "))
    }
}

impl ValueFormat for TextsFormat {
    type Value = Vec<String>;
    const NAME: &'static str = "list of texts";

    fn read(raw: &RawValue) -> Result<Vec<String>, String> {
        list(raw)
    }

    fn show(value: &Vec<String>) -> String {
        let texts: Vec<String> = value.iter().map(|text| toml_text(text)).collect();
        format!("[{}]", texts.join(", "))
    }
}

/// Hides the password of every URL in a text: `redis://user:***@host`.
pub(crate) fn mask_passwords(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://").map(|at| at + 3) {
        let (before, after) = rest.split_at(start);
        masked.push_str(before);
        let end = after.find(['/', '?', '#', ' ', '"', '\'', ',']).unwrap_or(after.len());
        let (authority, remainder) = after.split_at(end);
        match authority.rsplit_once('@').and_then(|(login, host)| Some((login.split_once(':')?.0, host))) {
            Some((user, host)) => masked.extend([user, ":***@", host]),
            None => masked.push_str(authority),
        }
        rest = remainder;
    }
    masked.push_str(rest);
    masked
}

/// A value of somebody else for a message: shortened, escaped, without passwords.
pub(crate) fn quoted(text: &str) -> String {
    const CHARACTERS_MAX: usize = 80;
    let masked = mask_passwords(text);
    match masked.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{:?}…", &masked[..end]),
        None => format!("{masked:?}"),
    }
}

/// A name is taken for the address that every machine gives it: one port, no resolver, no surprise.
fn read_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    // A port alone is that of this machine: what every other machine reaches is named in full.
    let port = text.strip_prefix("localhost:").or(text.strip_prefix(':')).unwrap_or(text);
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if let (true, Ok(port)) = (is_port, port.parse()) {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    let found = quoted(text);
    let advice = match text.parse::<std::net::IpAddr>() {
        Ok(address) => format!("; it has no port, write {}", SocketAddr::new(address, 8000)),
        Err(_) if is_port => format!("; a port is at most {}", u16::MAX),
        Err(_) if text == "localhost" => "; it has no port, write localhost:8000".to_owned(),
        Err(_) if text.starts_with("*:") => "; every address is written 0.0.0.0 or [::]".to_owned(),
        Err(_) if text.contains("://") => {
            "; write it without what stands before :// and without a path".to_owned()
        }
        Err(_) => "; host names but localhost are not looked up, write the address itself".to_owned(),
    };
    Err(format!("has {found}, which is not an address and a port{advice}"))
}

fn scalar(raw: &RawValue, wanted: &str) -> Result<String, String> {
    match raw {
        RawValue::Text(text) if text.is_empty() => Err(format!("is empty; leave it out or give {wanted}")),
        RawValue::Text(text) | RawValue::Bare(text) => Ok(text.clone()),
        RawValue::List(_) | RawValue::Keys(_) | RawValue::Nothing => {
            Err(format!("is {}, which is not {wanted}", written(raw)))
        }
    }
}

fn list(raw: &RawValue) -> Result<Vec<String>, String> {
    match raw {
        RawValue::List(texts) => Ok(texts.clone()),
        RawValue::Text(text) => {
            Ok(text.split(',').map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned).collect())
        }
        RawValue::Bare(_) | RawValue::Keys(_) | RawValue::Nothing => {
            Err(format!("is {}, which is not a list of texts", written(raw)))
        }
    }
}

fn written(raw: &RawValue) -> String {
    match raw {
        RawValue::Text(text) => quoted(text),
        RawValue::Bare(text) => quoted(text).trim_matches('"').to_owned(),
        RawValue::List(texts) => format!("a list of {}", texts.len()),
        RawValue::Keys(keys) => format!("a list of {} keys", keys.len()),
        RawValue::Nothing => "nothing".to_owned(),
    }
}

fn not(text: &str, wanted: &str) -> String {
    format!("is {}, which is not {wanted}", quoted(text))
}

pub(super) fn nearest_word(word: &str, choices: &[&str]) -> String {
    let distance = |choice: &str| strsim::osa_distance(&word.to_lowercase(), &choice.to_lowercase());
    let nearest = choices.iter().min_by_key(|choice| distance(choice));
    let near = nearest.filter(|choice| distance(choice) <= 2);
    near.map_or_else(String::new, |choice| format!("; did you mean {choice}?"))
}

/// A text as TOML writes it; what JSON escapes, TOML escapes in the same way.
fn toml_text(text: &str) -> String {
    serde_json::Value::from(mask_passwords(text)).to_string()
}
