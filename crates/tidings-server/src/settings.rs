//! Settings from `tidings.toml`, then the environment, then flags; every fault is found and says where it stands.

mod file;
mod load;
mod markdown;
mod suggest;
mod table;
mod value_format;
mod warnings;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use tidings::config::Settings;

pub(crate) use load::load;
pub(crate) use markdown::markdown;
pub(crate) use table::{SETTINGS, Setting};
pub(crate) use value_format::{RawValue, read_duration};

/// Where the values of settings may come from, besides `tidings.toml` in the working directory.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// The file to read; it has to exist. `None` reads `tidings.toml` if there is one.
    pub(crate) config: Option<PathBuf>,
    /// The whole environment.
    pub(crate) variables: Vec<(std::ffi::OsString, std::ffi::OsString)>,
    /// What was given as flags.
    pub(crate) flags: Vec<FlagValue>,
    /// How many descriptors this process may open at most, where that is known.
    pub(crate) descriptors_max: Option<u64>,
}

/// One setting given as a flag.
#[derive(Debug)]
pub(crate) struct FlagValue {
    /// The setting's name.
    pub(crate) setting: &'static str,
    /// The flag as it is written on the command line.
    pub(crate) flag: &'static str,
    /// Its value.
    pub(crate) raw: RawValue,
}

/// Settings that a hub can run with.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// The settings.
    pub(crate) settings: Settings,
    /// Where each setting that is not a plain default came from, by its name.
    pub(crate) origins: BTreeMap<&'static str, Origin>,
    /// What will work, but perhaps not as it was meant.
    pub(crate) warnings: Vec<String>,
}

impl Loaded {
    /// Where the setting of this name came from.
    pub(crate) fn origin(&self, name: &str) -> &Origin {
        self.origins.get(name).unwrap_or(&Origin::Default)
    }

    /// Whether a file could give this setting the value that is shown: `--memory` has no words there, secrets, passwords
    /// and the hashes of keys are not shown, a hub stays open only without a word of `[auth]`, and without a URL nothing of
    /// `[redis]` has an effect.
    pub(crate) fn file_can_say(&self, name: &str) -> bool {
        match (name, &self.settings.auth) {
            ("data_dir", _) => self.settings.data_dir.is_some(),
            ("redis.url", _) => self.settings.redis.as_ref().is_none_or(|redis| !redis.url.has_password()),
            (_, _) if name.starts_with("redis.") => self.settings.redis.is_some(),
            ("auth.secret", Some(auth)) => auth.secret.is_none(),
            ("auth.keys", Some(auth)) => auth.keys.is_empty(),
            (_, None) => !name.starts_with("auth."),
            (_, Some(_)) => true,
        }
    }
}

/// Where the value of a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody set it.
    Default,
    /// Nobody set it, and the default follows something else: what.
    Derived(String),
    /// A place in the settings file.
    File(FileLocation),
    /// A variable of the environment.
    Variable(String),
    /// A flag of the command line.
    Flag(&'static str),
}

/// A place in a file; lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileLocation {
    pub(crate) path: PathBuf,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// A fault of the settings: where it stands, and what is wrong with which way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Diagnostic {
    /// The file with line and column, the variable, or the flag.
    pub(crate) place: String,
    /// The fact.
    pub(crate) text: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::Derived(why) => write!(formatter, "default, {why}"),
            Self::File(place) => write!(formatter, "{}:{}", place.path.display(), place.line),
            Self::Variable(name) => write!(formatter, "environment {name}"),
            Self::Flag(flag) => write!(formatter, "flag {flag}"),
        }
    }
}

impl Origin {
    /// The place as a problem names it.
    fn place(&self) -> String {
        match self {
            Self::Default | Self::Derived(_) => "default".to_owned(),
            Self::File(place) => place.to_string(),
            Self::Variable(name) => name.clone(),
            Self::Flag(flag) => (*flag).to_owned(),
        }
    }
}

impl fmt::Display for FileLocation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.text)
    }
}

#[cfg(test)]
mod tests;
