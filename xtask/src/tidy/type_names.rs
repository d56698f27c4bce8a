//! One name, one type: no type name is defined twice in `crates/`, tests included.

use std::collections::BTreeMap;

use regex::Regex;

use super::file::{TextFile, regex};

/// Names that each module may define for itself.
const EXCEPTIONS: &[&str] = &["Args", "Error", "Result"];
/// Loom's locks for tests, under the names of those of the standard library.
const STAND_INS: &str = "crates/tidings-sync/src/model/base.rs";

/// Returns each definition of a name after its first, sorted by name.
pub(crate) fn check(files: &[TextFile]) -> Vec<String> {
    // An indented `type` is an associated type.
    let definition = regex(
        r"^(?:\s*(?:pub(?:\([^)]*\))? )?(?:struct|enum|trait|union)|(?:pub(?:\([^)]*\))? )?type) ([A-Z]\w*)",
    );
    let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.is_rust_in("crates/") && file.path != STAND_INS) {
        for (name, line) in definitions(&file.text, &definition) {
            places.entry(name).or_default().push(file.at(line));
        }
    }
    places.retain(|name, _| !EXCEPTIONS.contains(name));
    let again = places.iter().flat_map(|(name, places)| {
        places.iter().skip(1).map(move |place| format!("{place}: `{name}` is defined at {}, too", places[0]))
    });
    again.collect()
}

fn definitions<'a>(text: &'a str, definition: &Regex) -> Vec<(&'a str, usize)> {
    let lines = text.lines().enumerate();
    let found =
        lines.filter_map(|(number, line)| Some((definition.captures(line)?.get(1)?.as_str(), number + 1)));
    found.collect()
}

#[cfg(test)]
mod tests;
