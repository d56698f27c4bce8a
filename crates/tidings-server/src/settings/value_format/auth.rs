//! How the values of `[auth]` are written. What may be a secret is in no message.

use std::path::PathBuf;

use tidings::config::{Algorithm, KeySettings, Secret};

use super::{NONE, RawValue, TextsFormat, ValueFormat, list, nearest_word, scalar, toml_text, written};

pub(crate) struct TextFormat;
pub(crate) struct OptionalTextFormat;
pub(crate) struct OptionalFileFormat;
pub(crate) struct SecretTextFormat;
pub(crate) struct AlgorithmsFormat;
pub(crate) struct KeysFormat;

impl ValueFormat for TextFormat {
    type Value = String;
    const NAME: &'static str = "text";

    fn read(raw: &RawValue) -> Result<String, String> {
        match raw {
            RawValue::Bare(_) => Err(format!("is {}; a text stands in quotes", written(raw))),
            _ => scalar(raw, "a text"),
        }
    }

    fn show(value: &String) -> String {
        toml_text(value)
    }
}

impl ValueFormat for OptionalTextFormat {
    type Value = Option<String>;
    const NAME: &'static str = "text, or `none`";

    fn read(raw: &RawValue) -> Result<Option<String>, String> {
        TextFormat::read(raw).map(|text| (text != NONE).then_some(text))
    }

    fn show(value: &Option<String>) -> String {
        toml_text(value.as_deref().unwrap_or(NONE))
    }
}

impl ValueFormat for OptionalFileFormat {
    type Value = Option<PathBuf>;
    const NAME: &'static str = "path, or `none`";

    fn read(raw: &RawValue) -> Result<Option<PathBuf>, String> {
        match OptionalTextFormat::read(raw)? {
            Some(text) if text.contains('\0') => Err("has a NUL, which no path has".to_owned()),
            path => Ok(path.map(PathBuf::from)),
        }
    }

    fn show(value: &Option<PathBuf>) -> String {
        value.as_ref().map_or_else(|| toml_text(NONE), |path| toml_text(&path.to_string_lossy()))
    }
}

impl ValueFormat for SecretTextFormat {
    type Value = Option<Secret>;
    const NAME: &'static str = "secret text, or `none`";

    fn read(raw: &RawValue) -> Result<Option<Secret>, String> {
        match raw {
            RawValue::Text(text) if text.is_empty() => {
                Err("is empty; leave it out, or make one with `openssl rand -base64 48`".to_owned())
            }
            RawValue::Text(text) if text == NONE => Ok(None),
            RawValue::Text(text) => Ok(Some(Secret::new(text))),
            RawValue::Bare(_) | RawValue::List(_) | RawValue::Keys(_) | RawValue::Nothing => {
                Err("is not one text in quotes; its value is not shown here".to_owned())
            }
        }
    }

    fn show(value: &Option<Secret>) -> String {
        value.as_ref().map_or_else(|| toml_text(NONE), |secret| format!("\"{secret}\""))
    }
}

impl ValueFormat for AlgorithmsFormat {
    type Value = Vec<Algorithm>;
    const NAME: &'static str = "list of algorithms";

    fn read(raw: &RawValue) -> Result<Vec<Algorithm>, String> {
        let mut algorithms = Vec::new();
        for word in list(raw)? {
            if word.eq_ignore_ascii_case("none") {
                return Err(
                    "has \"none\", which is never taken: anyone can make a token that nobody signed; \
                            an empty list takes all that the keys can do"
                        .to_owned(),
                );
            }
            let algorithm = word.parse().map_err(|_| {
                // A word this short is no secret.
                let shown =
                    if word.len() <= 8 { format!("{word:?}") } else { "an unknown algorithm".to_owned() };
                let near = nearest_word(&word, Algorithm::WORDS);
                format!("has {shown}; one of {}{near}", Algorithm::WORDS.join(", "))
            })?;
            if !algorithms.contains(&algorithm) {
                algorithms.push(algorithm);
            }
        }
        Ok(algorithms)
    }

    fn show(value: &Vec<Algorithm>) -> String {
        TextsFormat::show(&value.iter().map(ToString::to_string).collect())
    }
}

impl ValueFormat for KeysFormat {
    type Value = Vec<KeySettings>;
    const NAME: &'static str = "list of tables";

    fn read(raw: &RawValue) -> Result<Vec<KeySettings>, String> {
        match raw {
            RawValue::Keys(keys) => Ok(keys.clone()),
            RawValue::Text(_) | RawValue::Bare(_) | RawValue::List(_) | RawValue::Nothing => Err(
                "is not a list of keys; make one with `tidings key --name N`, which prints the lines to keep"
                    .to_owned(),
            ),
        }
    }

    /// Without the hashes: they tell nobody anything.
    fn show(value: &Vec<KeySettings>) -> String {
        let keys: Vec<String> = value
            .iter()
            .map(|key| {
                let rights = key.rights.iter().map(ToString::to_string).collect();
                let mut members = vec![
                    format!("name = {}", toml_text(&key.name)),
                    format!("rights = {}", TextsFormat::show(&rights)),
                ];
                for (member, patterns) in [("subscribe", &key.subscribe), ("publish", &key.publish)] {
                    if !patterns.is_empty() {
                        members.push(format!("{member} = {}", TextsFormat::show(patterns)));
                    }
                }
                format!("{{ {} }}", members.join(", "))
            })
            .collect();
        format!("[{}]", keys.join(", "))
    }
}
