//! Builds the settings: defaults, then the file, then the environment, then flags.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use tidings::config::Settings;

use super::setting::{AcceptedFrom, Setting, variable_of};
use super::source::{Diagnostic, FlagValue, Origin, Sources};
use super::suggest::unknown_variable;
use super::table::{SETTINGS, SHARED_REDIS, UNSUPPORTED, UNSUPPORTED_VARIABLES, setting};
use super::value_format::{RawValue, mask_passwords};
use super::{file, warnings};

/// Variables of `tidings publish` and `tidings subscribe`, which are no settings of a hub.
const CLIENT_VARIABLES: [&str; 2] = ["TIDINGS_URL", "TIDINGS_TOKEN"];

/// File descriptors that a hub needs besides its streams: for its log, its listeners, publishers.
const DESCRIPTORS_RESERVED: u64 = 500;

/// Settings that a hub can run with.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// The settings.
    pub(crate) settings: Settings,
    /// Origins of settings that are not plain defaults, by name.
    origins: BTreeMap<&'static str, Origin>,
    /// Warnings about settings that work, but perhaps not as intended.
    pub(crate) warnings: Vec<String>,
}

impl Loaded {
    /// Returns the origin of the setting of this name.
    pub(crate) fn origin(&self, name: &str) -> &Origin {
        self.origins.get(name).unwrap_or(&Origin::Default)
    }

    /// Returns whether a line of a file could give this setting the value that is shown.
    ///
    /// `--memory` has no such line. Secrets, passwords and hashes of keys are not shown. A line of `[auth]` would protect an
    /// open hub. Without a URL the rest of `[redis]` has no effect.
    pub(crate) fn has_file_line(&self, name: &str) -> bool {
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

/// Loads the settings and validates them.
///
/// # Errors
/// Every error of every source, in the order in which the sources are read.
pub(crate) fn load(sources: Sources) -> Result<Loaded, Vec<Diagnostic>> {
    let mut loader = SettingsLoader::default();
    let file = file::read(sources.config.as_deref());
    loader.diagnostics.extend(file.diagnostics);
    if file.has_auth {
        loader.loaded.settings.auth.get_or_insert_default();
    }
    for (setting, raw, location) in file.values {
        loader.set(setting, &raw, Origin::File(location));
    }
    loader.read_shared_redis(&sources.variables);
    loader.read_environment(sources.variables);
    for FlagValue { setting: name, flag, raw } in sources.flags {
        let setting = setting(name).expect("flags name settings of the table");
        loader.set(setting, &raw, Origin::Flag(flag));
    }
    loader.derive_defaults(sources.descriptors_max);
    loader.validate();
    if loader.diagnostics.is_empty() { Ok(loader.loaded) } else { Err(loader.diagnostics) }
}

#[derive(Default)]
struct SettingsLoader {
    loaded: Loaded,
    diagnostics: Vec<Diagnostic>,
}

impl SettingsLoader {
    fn set(&mut self, setting: &'static Setting, raw: &RawValue, origin: Origin) {
        if let Err(error) = (setting.read)(&mut self.loaded.settings, raw) {
            self.report(setting.name, &origin, &error);
        }
        // A bad value counts as given, so that no default is derived in its place.
        self.loaded.origins.insert(setting.name, origin);
    }

    /// Reads `REDIS_URL`, unless file or environment name a Redis for this hub.
    fn read_shared_redis(&mut self, variables: &[(OsString, OsString)]) {
        let (shared, name) = SHARED_REDIS;
        let own = variable_of(name);
        let is_named =
            self.loaded.origins.contains_key(name) || variables.iter().any(|(name, _)| *name == *own);
        let value = variables.iter().find(|(name, value)| name == shared && !value.is_empty());
        if let Some((_, value)) = value.filter(|_| !is_named) {
            self.read_variable(setting(name).expect("the table has it"), shared, value);
        }
    }

    fn read_environment(&mut self, mut variables: Vec<(OsString, OsString)>) {
        variables.sort();
        for (name, value) in variables {
            let Some(name) = name.to_str() else { continue };
            let known = SETTINGS.iter().find(|setting| setting.variable().as_deref() == Some(name));
            if let Some(setting) = known {
                self.read_variable(setting, name, &value);
                continue;
            }
            let message = if name.starts_with("TIDINGS_") && !CLIENT_VARIABLES.contains(&name) {
                match UNSUPPORTED.iter().find(|other| variable_of(other.name) == name) {
                    Some(other) => {
                        format!(
                            "{} is not available in this version; {}",
                            other.name,
                            other.environment_advice()
                        )
                    }
                    None => unknown_variable(name),
                }
            } else {
                let other =
                    UNSUPPORTED_VARIABLES.iter().find(|other| other.name == name && !value.is_empty());
                let Some(other) = other else { continue };
                format!("not available in this version; {}", other.environment_advice())
            };
            self.diagnostics.push(Diagnostic { location: name.to_owned(), message });
        }
    }

    fn read_variable(&mut self, setting: &'static Setting, name: &str, value: &OsStr) {
        // Other programs read `TEST_MODE`, too, and treat an empty value as unset.
        if value.is_empty() && matches!(setting.accepted_from, AcceptedFrom::Variable(_)) {
            return;
        }
        let origin = Origin::Variable(name.to_owned());
        match value.to_str() {
            Some(text) => self.set(setting, &RawValue::Text(text.to_owned()), origin),
            None => self.report(setting.name, &origin, "is not UTF-8"),
        }
    }

    /// Derives defaults from values that were set, if the plain defaults would contradict them.
    fn derive_defaults(&mut self, descriptors_max: Option<u64>) {
        let Loaded { settings, origins, warnings } = &mut self.loaded;
        let limits = &mut settings.limits;
        if limits.event_bytes > limits.body_bytes {
            if !origins.contains_key("limits.event_bytes") {
                limits.event_bytes = limits.body_bytes;
                origins.insert("limits.event_bytes", Origin::Derived("at most limits.body_bytes".to_owned()));
            } else if !origins.contains_key("limits.body_bytes") {
                limits.body_bytes = limits.event_bytes;
                origins
                    .insert("limits.body_bytes", Origin::Derived("at least limits.event_bytes".to_owned()));
            }
        }
        let Some(descriptors) = descriptors_max else { return };
        let connections_max = connections_of(descriptors);
        if connections_max >= limits.connections {
            return;
        }
        if origins.contains_key("limits.connections") {
            warnings.push(format!(
                "limits.connections is {}, but {descriptors} file descriptors allow about {connections_max}; raise the limit \
                 of open files, for example with ulimit -n {}",
                limits.connections,
                limits.connections.saturating_add(DESCRIPTORS_RESERVED)
            ));
        } else {
            limits.connections = connections_max;
            let reason = format!("limited by {descriptors} file descriptors");
            origins.insert("limits.connections", Origin::Derived(reason));
        }
    }

    fn validate(&mut self) {
        let tls = &mut self.loaded.settings.server.tls;
        let is_empty = |path: &std::path::Path| path.as_os_str().is_empty();
        tls.take_if(|tls| is_empty(&tls.cert_file) && is_empty(&tls.key_file));
        self.drop_redis_without_url();
        for error in self.loaded.settings.validate() {
            let origin = self.loaded.origin(error.setting).clone();
            self.report(error.setting, &origin, &error.problem);
        }
        self.loaded.warnings.extend(warnings::warnings(&self.loaded.settings));
        self.validate_open_hub();
    }

    /// Drops the rest of `[redis]` if there is no URL.
    fn drop_redis_without_url(&mut self) {
        let Loaded { settings, origins, warnings } = &mut self.loaded;
        if settings.redis.as_ref().is_none_or(|redis| !redis.url.is_empty()) {
            return;
        }
        settings.redis = None;
        let is_idle = |name: &&str| name.starts_with("redis.") && *name != "redis.url";
        let idle: Vec<&str> = origins.keys().copied().filter(is_idle).collect();
        origins.retain(|name, _| !is_idle(name));
        // If the URL itself has an error, that error is enough.
        let has_bad_url = self.diagnostics.iter().any(|other| other.message.starts_with("redis.url "));
        if !idle.is_empty() && !has_bad_url {
            let verb = if idle.len() == 1 { "is" } else { "are" };
            warnings.push(format!(
                "without redis.url this is one node by itself; {} {verb} without effect",
                idle.join(", ")
            ));
        }
    }

    /// Refuses a hub without credentials that other machines reach: every client may do everything there.
    fn validate_open_hub(&mut self) {
        let settings = &self.loaded.settings;
        if settings.insecure || settings.auth.is_some() {
            return;
        }
        let beyond = settings.listen.iter().filter(|address| !address.ip().to_canonical().is_loopback());
        let location = self.loaded.origin("listen").location();
        self.diagnostics.extend(beyond.map(|address| Diagnostic {
            location: location.clone(),
            message: format!(
                "listen has {address}, which is not a loopback address, and without [auth] every client that reaches it may \
                 read and publish everything; set [auth], listen on 127.0.0.1:{} behind a proxy that authenticates clients, \
                 or pass --insecure to allow it",
                address.port()
            ),
        }));
    }

    fn report(&mut self, name: &str, origin: &Origin, error: &str) {
        let example = setting(name).map_or("", |setting| setting.example);
        let mut message = format!("{name} {}", mask_passwords(error));
        if !example.is_empty() && !message.contains("for example") && !message.contains("one of ") {
            message.push_str(&format!(", for example {example}"));
        }
        self.diagnostics.push(Diagnostic { location: origin.location(), message });
    }
}

/// Returns how many streams so many file descriptors allow.
fn connections_of(descriptors: u64) -> u64 {
    if descriptors > 2 * DESCRIPTORS_RESERVED {
        descriptors - DESCRIPTORS_RESERVED
    } else {
        (descriptors / 2).max(1)
    }
}
