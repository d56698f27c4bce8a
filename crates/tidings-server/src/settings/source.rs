//! Sources of settings, and the places that messages name.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use super::value_format::RawValue;

/// Sources of settings, besides `tidings.toml` in the working directory.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// The file to read, which has to exist. `None` reads `tidings.toml` if it exists.
    pub(crate) config: Option<PathBuf>,
    /// The whole environment.
    pub(crate) variables: Vec<(OsString, OsString)>,
    /// Settings given as flags.
    pub(crate) flags: Vec<FlagValue>,
    /// File descriptors that this process may open, if that is limited.
    pub(crate) descriptors_max: Option<u64>,
}

/// One setting given as a flag.
#[derive(Debug)]
pub(crate) struct FlagValue {
    /// Name of the setting.
    pub(crate) setting: &'static str,
    /// The flag as it is written on the command line.
    pub(crate) flag: &'static str,
    /// Its value.
    pub(crate) raw: RawValue,
}

/// Source of the value of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The default.
    Default,
    /// A default that follows another value; the text names it.
    Derived(String),
    /// The settings file.
    File(FileLocation),
    /// A variable of the environment.
    Variable(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl Origin {
    /// Returns the location as a diagnostic names it.
    pub(super) fn location(&self) -> String {
        match self {
            Self::Default | Self::Derived(_) => "default".to_owned(),
            Self::File(location) => location.to_string(),
            Self::Variable(name) => name.clone(),
            Self::Flag(flag) => (*flag).to_owned(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::Derived(reason) => write!(formatter, "default, {reason}"),
            Self::File(location) => write!(formatter, "{}:{}", location.path.display(), location.line),
            Self::Variable(name) => write!(formatter, "environment {name}"),
            Self::Flag(flag) => write!(formatter, "flag {flag}"),
        }
    }
}

/// A location in a file. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileLocation {
    pub(crate) path: PathBuf,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl fmt::Display for FileLocation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

/// An error of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Diagnostic {
    /// The file with line and column, the variable, or the flag.
    pub(crate) location: String,
    /// The error, and advice.
    pub(crate) message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.location, self.message)
    }
}
