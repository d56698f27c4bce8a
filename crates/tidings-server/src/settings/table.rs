//! The table of settings, which file, environment, `tidings check` and the manual follow.

mod rows;

use super::setting::Setting;
pub(crate) use rows::SETTINGS;

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
