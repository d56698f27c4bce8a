//! A setting: its name, its sources, its format and its accessors.

use tidings::config::Settings;

use super::value_format::RawValue;

/// A setting of this version.
pub(crate) struct Setting {
    /// Section and key, as in the file.
    pub(crate) name: &'static str,
    /// Sources that may set it.
    pub(crate) accepted_from: AcceptedFrom,
    /// Returns the name of the format of its values.
    pub(crate) format: fn() -> String,
    /// Returns the values that it accepts; empty if it accepts every value of the format.
    pub(crate) values: fn() -> String,
    /// An accepted value, as in the file.
    pub(crate) example: &'static str,
    /// Description in the manual, after a space.
    pub(crate) doc: &'static str,
    /// Reads a value into the settings. The error continues the name.
    pub(crate) read: fn(&mut Settings, &RawValue) -> Result<(), String>,
    /// Shows the value as the file has it, secrets masked.
    pub(crate) show: fn(&Settings) -> String,
    /// Returns whether two settings have different values of it.
    pub(crate) differs: fn(&Settings, &Settings) -> bool,
}

/// Sources that may set a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AcceptedFrom {
    /// The file and the environment, by its name. Some settings have a flag, too.
    FileOrEnvironment,
    /// The file only: no single text holds the value.
    File,
    /// This variable only.
    Variable(&'static str),
    /// This flag only.
    Flag(&'static str),
}

impl Setting {
    /// Returns its name in the environment, if it may be set there.
    pub(crate) fn variable(&self) -> Option<String> {
        match self.accepted_from {
            AcceptedFrom::FileOrEnvironment => Some(variable_of(self.name)),
            AcceptedFrom::Variable(name) => Some(name.to_owned()),
            AcceptedFrom::Flag(_) | AcceptedFrom::File => None,
        }
    }

    /// Returns whether a settings file may hold it.
    pub(crate) fn is_in_file(&self) -> bool {
        matches!(self.accepted_from, AcceptedFrom::FileOrEnvironment | AcceptedFrom::File)
    }

    /// Returns its section as the file heads it; none at the top.
    pub(crate) fn section(&self) -> Option<&'static str> {
        self.name.rsplit_once('.').map(|(section, _)| section)
    }

    /// Returns whether a running hub accepts a new value of it at `SIGHUP`.
    pub(crate) fn is_reloadable(&self) -> bool {
        self.name.starts_with("auth.") || self.name.starts_with("server.tls.")
    }
}

/// Returns the name of a setting in the environment: `log.retention_age` is `TIDINGS_LOG_RETENTION_AGE`.
pub(crate) fn variable_of(name: &str) -> String {
    format!("TIDINGS_{}", name.replace('.', "_").to_uppercase())
}
