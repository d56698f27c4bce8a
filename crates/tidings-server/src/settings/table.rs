//! The one table of settings: file, environment, `tidings check` and the manual all follow it.

#[macro_use]
mod row;
mod rows;

use tidings::config::Settings;

use super::value_format::RawValue;
pub(crate) use rows::SETTINGS;

/// A setting of this version.
pub(crate) struct Setting {
    /// Its name: section and key, as in the file.
    pub(crate) name: &'static str,
    /// Who may give it.
    pub(crate) given: AcceptedFrom,
    /// How its values are written, in words.
    pub(crate) form: &'static str,
    /// Its bound in words; empty where every value of the form will do.
    pub(crate) bound: fn() -> String,
    /// A good value, as in the file.
    pub(crate) example: &'static str,
    /// What it does.
    pub(crate) doc: &'static str,
    /// Reads a value into the settings; the error goes on after the name.
    pub(crate) read: fn(&mut Settings, &RawValue) -> Result<(), String>,
    /// Shows the value as the file has it, secrets masked.
    pub(crate) show: fn(&Settings) -> String,
    /// Whether two settings have different values of it.
    pub(crate) differs: fn(&Settings, &Settings) -> bool,
}

/// Who may give a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AcceptedFrom {
    /// The file and the environment, by its name; some by a flag, too.
    FileOrEnvironment,
    /// The file only: no one text holds it.
    File,
    /// This variable only.
    Variable(&'static str),
    /// This flag only.
    Flag(&'static str),
}

/// A setting that a later version brings. It is refused, since who sets it counts on it.
pub(crate) struct UnsupportedSetting {
    /// Its name, or that of its section.
    pub(crate) name: &'static str,
    /// What to do until then.
    pub(crate) way_out: &'static str,
}

impl UnsupportedSetting {
    /// What to do about a variable until then.
    pub(crate) fn way_out_of_environment(&self) -> String {
        self.way_out.replacen("remove", "unset", 1)
    }
}

impl Setting {
    /// Its name in the environment, if it may be given there.
    pub(crate) fn variable(&self) -> Option<String> {
        match self.given {
            AcceptedFrom::FileOrEnvironment => Some(variable_of(self.name)),
            AcceptedFrom::Variable(name) => Some(name.to_owned()),
            AcceptedFrom::Flag(_) | AcceptedFrom::File => None,
        }
    }

    /// Whether a settings file may hold it.
    pub(crate) fn can_stand_in_file(&self) -> bool {
        matches!(self.given, AcceptedFrom::FileOrEnvironment | AcceptedFrom::File)
    }

    /// Its section, as the file heads it: none at the top.
    pub(crate) fn section(&self) -> Option<&'static str> {
        self.name.rsplit_once('.').map(|(section, _)| section)
    }

    /// Whether a running hub takes a new value of it at `SIGHUP`.
    pub(crate) fn is_read_again(&self) -> bool {
        self.name.starts_with("auth.") || self.name.starts_with("server.tls.")
    }
}

/// The name in the environment of a setting: `log.retention_age` is `TIDINGS_LOG_RETENTION_AGE`.
pub(crate) fn variable_of(name: &str) -> String {
    format!("TIDINGS_{}", name.replace('.', "_").to_uppercase())
}

/// The variable that other programs name their Redis by. It counts where neither file nor `TIDINGS_REDIS_URL` gives one.
pub(crate) const SHARED_REDIS: (&str, &str) = ("REDIS_URL", "redis.url");

const NO_NATS: &str = "remove it; several nodes share a log over Redis, see redis.url";

/// Settings that are known, and refused in this version.
pub(crate) static UNSUPPORTED: &[UnsupportedSetting] = &[
    UnsupportedSetting { name: "nats", way_out: NO_NATS },
    UnsupportedSetting { name: "nats.url", way_out: NO_NATS },
];

/// Variables without the prefix `TIDINGS_` that are known, and refused in this version unless they are empty.
pub(crate) static UNSUPPORTED_VARIABLES: &[UnsupportedSetting] =
    &[UnsupportedSetting { name: "NATS_URL", way_out: NO_NATS }];

/// The setting of this name.
pub(crate) fn setting(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// The setting of a later version of this name.
pub(crate) fn later(name: &str) -> Option<&'static UnsupportedSetting> {
    UNSUPPORTED.iter().find(|later| later.name == name)
}

/// Whether there are settings below this name.
pub(crate) fn is_section(name: &str) -> bool {
    let below = |known: &str| known.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    SETTINGS.iter().any(|setting| below(setting.name)) || UNSUPPORTED.iter().any(|later| below(later.name))
}
