//! The table of settings. File, environment, `tidings check` and the manual follow it.

mod rows;

use tidings::config::Settings;

use super::value_format::RawValue;
pub(crate) use rows::SETTINGS;

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

/// A setting that this version knows and refuses, because an ignored setting would mislead.
pub(crate) struct UnsupportedSetting {
    /// Name of the setting, or of its section.
    pub(crate) name: &'static str,
    /// Advice for a file.
    pub(crate) advice: &'static str,
}

impl UnsupportedSetting {
    /// Returns the advice for a variable.
    pub(crate) fn environment_advice(&self) -> String {
        self.advice.replacen("remove", "unset", 1)
    }
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

/// The variable that other programs name their Redis by. It counts if neither file nor `TIDINGS_REDIS_URL` gives one.
pub(crate) const SHARED_REDIS: (&str, &str) = ("REDIS_URL", "redis.url");

const NO_NATS: &str = "remove it; several nodes share a log over Redis, see redis.url";

/// Settings that this version refuses.
pub(crate) static UNSUPPORTED: &[UnsupportedSetting] = &[
    UnsupportedSetting { name: "nats", advice: NO_NATS },
    UnsupportedSetting { name: "nats.url", advice: NO_NATS },
];

/// Variables without the prefix `TIDINGS_` that this version refuses unless they are empty.
pub(crate) static UNSUPPORTED_VARIABLES: &[UnsupportedSetting] =
    &[UnsupportedSetting { name: "NATS_URL", advice: NO_NATS }];

/// Returns the setting of this name.
pub(crate) fn setting(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// Returns the refused setting of this name.
pub(crate) fn unsupported(name: &str) -> Option<&'static UnsupportedSetting> {
    UNSUPPORTED.iter().find(|setting| setting.name == name)
}

/// Returns whether there are settings below this name.
pub(crate) fn is_section(name: &str) -> bool {
    let below = |known: &str| known.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    SETTINGS.iter().any(|setting| below(setting.name)) || UNSUPPORTED.iter().any(|other| below(other.name))
}
