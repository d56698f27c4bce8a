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

impl fmt::Display for SettingError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.setting, self.problem)
    }
}

impl std::error::Error for SettingError {}
