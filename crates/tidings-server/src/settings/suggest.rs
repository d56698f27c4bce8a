//! Names the nearest known setting for a misspelt one.

use super::table::{AcceptedFrom, SETTINGS, Setting, UNSUPPORTED, variable_of};
use super::value_format::quoted;

/// What to say of a key that no setting of the file has.
pub(super) fn unknown_key(name: &str) -> String {
    if let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) {
        let elsewhere = match setting.given {
            AcceptedFrom::Flag(flag) => format!("the flag {flag}"),
            AcceptedFrom::Variable(variable) => format!("the variable {variable}"),
            AcceptedFrom::FileOrEnvironment | AcceptedFrom::File => name.to_owned(),
        };
        return format!("{name} is not a setting of the file; it is given as {elsewhere}");
    }
    let in_file = SETTINGS.iter().filter(|setting| setting.can_stand_in_file()).map(|setting| setting.name);
    let keys = in_file.chain(UNSUPPORTED.iter().map(|later| later.name));
    let sections = SETTINGS.iter().filter_map(Setting::section);
    let known = keys.chain(sections);
    // A key in the wrong section is as near as its last part, and a bit further than one in its own.
    let distance = |known: &str| {
        let whole = strsim::osa_distance(&name.to_lowercase(), known);
        whole.min(strsim::osa_distance(&last_part(name).to_lowercase(), last_part(known)) + 1)
    };
    let nearest = known.min_by_key(|known| distance(known)).expect("there are settings");
    format!("{} is not a setting; did you mean {nearest}?", bare(name))
}

/// What to say of a variable that begins `TIDINGS_` and is no setting.
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
    known.extend(UNSUPPORTED.iter().map(|later| variable_of(later.name)));
    known.extend(["TIDINGS_URL".to_owned(), "TIDINGS_TOKEN".to_owned()]);
    // `TEST_MODE` stands without the prefix; compare without it, so that it is found under it.
    let plain = |name: &str| name.trim_start_matches("TIDINGS_").to_uppercase();
    let nearest = known.iter().min_by_key(|known| strsim::osa_distance(&plain(variable), &plain(known)));
    format!("not a setting; did you mean {}?", nearest.expect("there are settings"))
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// A key as it stands, unless it holds what would garble a message.
pub(super) fn bare(name: &str) -> String {
    let plain = name.len() <= 80 && name.bytes().all(|byte| byte.is_ascii_graphic());
    if plain { name.to_owned() } else { quoted(name) }
}
