//! A raw value, the trait of all formats, and the helpers that they share.

use std::marker::PhantomData;
use std::ops::RangeInclusive;

use tidings::config::KeySettings;

/// A value as it was written, before the format of its setting reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RawValue {
    /// Text: a variable, a flag, or a TOML string. It may hold a list, separated by commas.
    Text(String),
    /// A TOML number, boolean or date as it stands in the file.
    Bare(String),
    /// A list of texts.
    List(Vec<String>),
    /// API keys, which only a file can hold.
    Keys(Vec<KeySettings>),
    /// No value: the flag `--memory`.
    Nothing,
}

/// The word that unsets an optional value.
pub(super) const NONE: &str = "none";

/// A way of writing values.
pub(crate) trait ValueFormat {
    /// The type of a value that was read.
    type Value;
    /// Name of the format in the manual, without `none`.
    const NAME: &'static str;
    /// Whether the format accepts `none`.
    const IS_OPTIONAL: bool = false;
    /// Reads a value. The error continues the setting's name: `is "5 apples"; …`.
    fn read(raw: &RawValue) -> Result<Self::Value, String>;
    /// Shows a value as TOML.
    fn show(value: &Self::Value) -> String;
}

/// The format `F`, or `none`.
pub(crate) struct Optional<F>(PhantomData<F>);

impl<F: ValueFormat> ValueFormat for Optional<F> {
    type Value = Option<F::Value>;
    const NAME: &'static str = F::NAME;
    const IS_OPTIONAL: bool = true;

    fn read(raw: &RawValue) -> Result<Self::Value, String> {
        match raw {
            RawValue::Text(text) if text == NONE => Ok(None),
            _ => F::read(raw).map(Some),
        }
    }

    fn show(value: &Self::Value) -> String {
        value.as_ref().map_or_else(|| toml_text(NONE), F::show)
    }
}

/// Returns the name of a format in the manual.
pub(crate) fn name_of<F: ValueFormat>() -> String {
    if F::IS_OPTIONAL { format!("{}, or `{NONE}`", F::NAME) } else { F::NAME.to_owned() }
}

/// Returns a bound as text, in the format of its values.
pub(crate) fn range<F: ValueFormat>(bound: &RangeInclusive<F::Value>) -> String {
    format!("{} to {}", F::show(bound.start()), F::show(bound.end()))
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

/// Returns a value for a message: quoted, escaped, at most 80 characters, without passwords.
pub(crate) fn shortened(text: &str) -> String {
    const CHARACTERS_MAX: usize = 80;
    let masked = mask_passwords(text);
    match masked.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{:?}…", &masked[..end]),
        None => format!("{masked:?}"),
    }
}

/// Reads a value that is one text.
pub(super) fn scalar(raw: &RawValue, wanted: &str) -> Result<String, String> {
    match raw {
        RawValue::Text(text) if text.is_empty() => Err(format!("is empty; leave it out or give {wanted}")),
        RawValue::Text(text) | RawValue::Bare(text) => Ok(text.clone()),
        RawValue::List(_) | RawValue::Keys(_) | RawValue::Nothing => {
            Err(format!("is {}, which is not {wanted}", describe(raw)))
        }
    }
}

/// Reads a list of texts, or a text with commas.
pub(super) fn list(raw: &RawValue) -> Result<Vec<String>, String> {
    match raw {
        RawValue::List(texts) => Ok(texts.clone()),
        RawValue::Text(text) => {
            Ok(text.split(',').map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned).collect())
        }
        RawValue::Bare(_) | RawValue::Keys(_) | RawValue::Nothing => {
            Err(format!("is {}, which is not a list of texts", describe(raw)))
        }
    }
}

/// Returns a raw value as a message shows it.
pub(super) fn describe(raw: &RawValue) -> String {
    match raw {
        RawValue::Text(text) => shortened(text),
        RawValue::Bare(text) => shortened(text).trim_matches('"').to_owned(),
        RawValue::List(texts) => format!("a list of {}", texts.len()),
        RawValue::Keys(keys) => format!("a list of {} keys", keys.len()),
        RawValue::Nothing => "nothing".to_owned(),
    }
}

/// Returns the error of a text of another format.
pub(super) fn mismatch(text: &str, wanted: &str) -> String {
    format!("is {}, which is not {wanted}", shortened(text))
}

/// Returns `; did you mean …?` if a choice is near the word, and nothing otherwise.
pub(crate) fn suggest_word(word: &str, choices: &[&str]) -> String {
    let distance = |choice: &str| strsim::osa_distance(&word.to_lowercase(), &choice.to_lowercase());
    let nearest = choices.iter().min_by_key(|choice| distance(choice));
    let near = nearest.filter(|choice| distance(choice) <= 2);
    near.map_or_else(String::new, |choice| format!("; did you mean {choice}?"))
}

/// Returns a text as TOML. TOML escapes the same characters as JSON, in the same way.
pub(super) fn toml_text(text: &str) -> String {
    serde_json::Value::from(mask_passwords(text)).to_string()
}
