//! Puts the settings together: defaults, then the file, then the environment, then flags.

use std::ffi::{OsStr, OsString};

use super::suggest::unknown_variable;
use super::table::{
    AcceptedFrom, SETTINGS, SHARED_REDIS, Setting, UNSUPPORTED, UNSUPPORTED_VARIABLES, setting, variable_of,
};
use super::value_format::{RawValue, mask_passwords};
use super::{Diagnostic, FlagValue, Loaded, Origin, Sources, file, warnings};

/// Variables of `tidings publish` and `tidings subscribe`, which are no settings of a hub.
const CLIENT_VARIABLES: [&str; 2] = ["TIDINGS_URL", "TIDINGS_TOKEN"];

/// What a hub opens besides its streams: its log, its listeners, publishers.
const DESCRIPTORS_RESERVED: u64 = 500;

/// Puts the settings together and checks them.
///
/// # Errors
/// Every fault of every source, in the order in which they are read.
pub(crate) fn load(sources: Sources) -> Result<Loaded, Vec<Diagnostic>> {
    let mut loading = SettingsLoader::default();
    let contents = file::read(sources.config.as_deref());
    loading.problems.extend(contents.problems);
    if contents.has_auth {
        loading.loaded.settings.auth.get_or_insert_default();
    }
    for (setting, raw, place) in contents.values {
        loading.set(setting, &raw, Origin::File(place));
    }
    loading.shared_redis(&sources.variables);
    loading.environment(sources.variables);
    for FlagValue { setting: name, flag, raw } in sources.flags {
        let setting = setting(name).expect("flags name settings of the table");
        loading.set(setting, &raw, Origin::Flag(flag));
    }
    loading.derive_defaults(sources.descriptors_max);
    loading.check();
    if loading.problems.is_empty() { Ok(loading.loaded) } else { Err(loading.problems) }
}

#[derive(Default)]
struct SettingsLoader {
    loaded: Loaded,
    problems: Vec<Diagnostic>,
}

impl SettingsLoader {
    fn set(&mut self, setting: &'static Setting, raw: &RawValue, origin: Origin) {
        if let Err(problem) = (setting.read)(&mut self.loaded.settings, raw) {
            self.problem(setting.name, &origin, &problem);
        }
        // A bad value counts as given, too, so that nothing else is derived in its place.
        self.loaded.origins.insert(setting.name, origin);
    }

    /// Takes the Redis of the machine, unless the file speaks of one for this hub.
    fn shared_redis(&mut self, variables: &[(OsString, OsString)]) {
        let (shared, name) = SHARED_REDIS;
        let own = variable_of(name);
        let named = self.loaded.origins.contains_key(name) || variables.iter().any(|(name, _)| *name == *own);
        let value = variables.iter().find(|(name, value)| name == shared && !value.is_empty());
        if let Some((_, value)) = value.filter(|_| !named) {
            self.variable(setting(name).expect("the table has it"), shared, value);
        }
    }

    fn environment(&mut self, mut variables: Vec<(OsString, OsString)>) {
        variables.sort();
        for (name, value) in variables {
            let Some(name) = name.to_str() else { continue };
            let prefixed = name.starts_with("TIDINGS_") && !CLIENT_VARIABLES.contains(&name);
            if let Some(setting) = SETTINGS.iter().find(|setting| setting.variable().as_deref() == Some(name))
            {
                self.variable(setting, name, &value);
            } else if prefixed {
                let later = UNSUPPORTED.iter().find(|later| variable_of(later.name) == name);
                let text = match later {
                    Some(later) => {
                        format!(
                            "{} is not available in this version; {}",
                            later.name,
                            later.way_out_of_environment()
                        )
                    }
                    None => unknown_variable(name),
                };
                self.problems.push(Diagnostic { place: name.to_owned(), text });
            } else if let Some(later) =
                UNSUPPORTED_VARIABLES.iter().find(|later| later.name == name && !value.is_empty())
            {
                let text = format!("not available in this version; {}", later.way_out_of_environment());
                self.problems.push(Diagnostic { place: name.to_owned(), text });
            }
        }
    }

    fn variable(&mut self, setting: &'static Setting, name: &str, value: &OsStr) {
        // `TEST_MODE` is shared with other programs, where empty is as good as unset.
        if value.is_empty() && matches!(setting.given, AcceptedFrom::Variable(_)) {
            return;
        }
        let origin = Origin::Variable(name.to_owned());
        match value.to_str() {
            Some(text) => self.set(setting, &RawValue::Text(text.to_owned()), origin),
            None => self.problem(setting.name, &origin, "is not UTF-8"),
        }
    }

    /// Lets defaults follow what was set, where they would contradict it.
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
                "limits.connections is {}, but {descriptors} descriptors allow about {connections_max}; raise the \
                 limit of open files, for example with ulimit -n {}",
                limits.connections,
                limits.connections.saturating_add(DESCRIPTORS_RESERVED)
            ));
        } else {
            limits.connections = connections_max;
            let why = format!("what {descriptors} descriptors allow");
            origins.insert("limits.connections", Origin::Derived(why));
        }
    }

    fn check(&mut self) {
        self.let_go_of_redis();
        for fault in self.loaded.settings.faults() {
            let origin = self.loaded.origin(fault.setting).clone();
            self.problem(fault.setting, &origin, &fault.problem);
        }
        self.loaded.warnings.extend(warnings::warnings(&self.loaded.settings));
        self.check_openness();
    }

    /// Without a URL there is no Redis, whatever else is said of it.
    fn let_go_of_redis(&mut self) {
        let Loaded { settings, origins, warnings } = &mut self.loaded;
        if settings.redis.as_ref().is_none_or(|redis| !redis.url.is_empty()) {
            return;
        }
        settings.redis = None;
        let idle: Vec<&str> = origins
            .keys()
            .copied()
            .filter(|name| name.starts_with("redis.") && *name != "redis.url")
            .collect();
        for name in &idle {
            origins.remove(name);
        }
        // Where the URL itself has a fault, that is what to say.
        let refused = self.problems.iter().any(|problem| problem.text.starts_with("redis.url "));
        if !idle.is_empty() && !refused {
            warnings.push(format!(
                "without redis.url this is one node by itself; {} without effect",
                listed(&idle)
            ));
        }
    }

    /// Without credentials whoever reaches the hub may do everything, so only this machine may reach it.
    fn check_openness(&mut self) {
        let settings = &self.loaded.settings;
        if settings.insecure || settings.auth.is_some() {
            return;
        }
        let beyond = settings.listen.iter().filter(|address| !address.ip().to_canonical().is_loopback());
        let place = self.loaded.origin("listen").place();
        let problems: Vec<Diagnostic> = beyond
            .map(|address| Diagnostic {
                place: place.clone(),
                text: format!(
                    "listen has {address}, which is not a loopback address, and without [auth] whoever reaches it may \
                     read and publish everything; say who may do what under [auth], listen on 127.0.0.1:{} behind \
                     a proxy that checks who asks, or pass --insecure to allow it",
                    address.port()
                ),
            })
            .collect();
        self.problems.extend(problems);
    }

    fn problem(&mut self, name: &str, origin: &Origin, problem: &str) {
        let example = setting(name).map_or("", |setting| setting.example);
        let mut text = format!("{name} {}", mask_passwords(problem));
        if !example.is_empty() && !text.contains("for example") && !text.contains("one of ") {
            text.push_str(&format!(", for example {example}"));
        }
        self.problems.push(Diagnostic { place: origin.place(), text });
    }
}

fn listed(names: &[&str]) -> String {
    let verb = if names.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", names.join(", "))
}

/// How many streams so many descriptors allow.
fn connections_of(descriptors: u64) -> u64 {
    if descriptors > 2 * DESCRIPTORS_RESERVED {
        descriptors - DESCRIPTORS_RESERVED
    } else {
        (descriptors / 2).max(1)
    }
}
