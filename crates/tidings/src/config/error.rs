//! Errors of settings.

use std::fmt;

/// Invalid setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingError {
    /// Name of the setting, for example `limits.body_bytes`.
    pub setting: &'static str,
    /// Problem, with the value and the bound: `is 10 bytes; at least 64KiB`.
    pub problem: String,
}

/// Text that is none of the choices of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownWord {
    word: String,
    choices: &'static [&'static str],
}

impl UnknownWord {
    pub(super) fn new(word: &str, choices: &'static [&'static str]) -> Self {
        Self { word: word.to_owned(), choices }
    }
}

impl fmt::Display for UnknownWord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "is {:?}; one of {}", self.word, self.choices.join(", "))
    }
}

impl std::error::Error for UnknownWord {}

impl fmt::Display for SettingError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.setting, self.problem)
    }
}

impl std::error::Error for SettingError {}
