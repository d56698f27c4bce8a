//! Messages for misspelt settings, with the nearest known name.

use super::setting::{AcceptedFrom, Setting, variable_of};
use super::table::{SETTINGS, UNSUPPORTED};
use super::value_format::shortened;

/// Returns the message for a key that no setting of the file has.
pub(super) fn unknown_key(name: &str) -> String {
    if let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) {
        let elsewhere = match setting.accepted_from {
            AcceptedFrom::Flag(flag) => format!("the flag {flag}"),
            AcceptedFrom::Variable(variable) => format!("the variable {variable}"),
            AcceptedFrom::FileOrEnvironment | AcceptedFrom::File => name.to_owned(),
        };
        return format!("{name} is not a setting of the file; it is given as {elsewhere}");
    }
    let in_file = SETTINGS.iter().filter(|setting| setting.is_in_file()).map(|setting| setting.name);
    let keys = in_file.chain(UNSUPPORTED.iter().map(|other| other.name));
    let known = keys.chain(SETTINGS.iter().filter_map(Setting::section));
    // A key of another section is one step further than the same key of this section.
    let distance = |known: &str| {
        let whole = strsim::osa_distance(&name.to_lowercase(), known);
        whole.min(strsim::osa_distance(&last_part(name).to_lowercase(), last_part(known)) + 1)
    };
    let nearest = known.min_by_key(|known| distance(known)).expect("there are settings");
    format!("{} is not a setting; did you mean {nearest}?", printable(name))
}

/// Returns the message for a variable that begins with `TIDINGS_` and is no setting.
pub(super) fn unknown_variable(variable: &str) -> String {
    const FLAGS: [(&str, &str); 3] =
        [("TIDINGS_INSECURE", "--insecure"), ("TIDINGS_MEMORY", "--memory"), ("TIDINGS_CONFIG", "--config")];
    if let Some((_, flag)) = FLAGS.iter().find(|(name, _)| *name == variable) {
        return format!("not a setting of the environment; it is given as the flag {flag}");
    }
    if variable == variable_of("auth.keys") {
        return "not a setting of the environment: auth.keys is a list of tables; make a key with `tidings key --name N`, put \
                the lines that it prints into tidings.toml, and name another file with --config"
            .to_owned();
    }
    let mut known: Vec<String> = SETTINGS.iter().filter_map(Setting::variable).collect();
    known.extend(UNSUPPORTED.iter().map(|other| variable_of(other.name)));
    known.extend(["TIDINGS_URL".to_owned(), "TIDINGS_TOKEN".to_owned()]);
    // `TEST_MODE` has no prefix, so names are compared without it.
    let plain = |name: &str| name.trim_start_matches("TIDINGS_").to_uppercase();
    let nearest = known.iter().min_by_key(|known| strsim::osa_distance(&plain(variable), &plain(known)));
    format!("not a setting; did you mean {}?", nearest.expect("there are settings"))
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// Returns a key as it stands if it is short and visible ASCII, otherwise quoted and escaped.
pub(super) fn printable(name: &str) -> String {
    let is_plain = name.len() <= 80 && name.bytes().all(|byte| byte.is_ascii_graphic());
    if is_plain { name.to_owned() } else { shortened(name) }
}
