//! Inside the crate `tidings` a module uses only its own row of ARCHITECTURE.md and the rows below it.

use std::collections::BTreeMap;

use super::file::TextFile;
use super::modules::Crate;
use super::tables;

/// The crate that has rows.
const CRATE: &str = "crates/tidings/src/";
/// Modules that know no HTTP, and the crates of HTTP.
const CORE: &[&str] = &["hub", "connection", "publish", "broker"];
const HTTP_CRATES: &[&str] = &["http", "http_body", "http_body_util", "hyper", "hyper_util", "axum"];

/// Returns each use of a row above; `lib.rs` puts the rows together and is free.
pub(crate) fn check(files: &[TextFile]) -> Vec<String> {
    let rows = tables::read(files, "module");
    let row_of: BTreeMap<&str, usize> = rows
        .iter()
        .enumerate()
        .flat_map(|(row, cells)| cells[0].iter().map(move |module| (module.as_str(), row)))
        .collect();
    let tree = Crate::read(files, CRATE);
    let mut faults = Vec::new();
    for (name, module) in &tree.modules {
        let Some(top) = name.first() else { continue };
        let Some(row) = row_of.get(top.as_str()) else {
            faults.push(format!("{}: `{top}` stands in no row of ARCHITECTURE.md", module.file.path));
            continue;
        };
        for path in &module.paths {
            let Some(used) = tree.resolve(name, path) else { continue };
            let at = module.file.at(path.line);
            match used.first().map(String::as_str) {
                None if path.segments.last().is_some_and(|last| last == "*") => {
                    faults.push(format!("{at}: `{top}` takes in the whole crate; name what it uses"));
                }
                Some(used) if row_of.get(used).is_some_and(|used| used < row) => {
                    faults.push(format!("{at}: `{top}` uses `{used}`, a row above it"));
                }
                _ => {}
            }
        }
    }
    faults
}

/// Returns each path of the core that leads to a crate of HTTP.
pub(crate) fn no_http_in_the_core(files: &[TextFile]) -> Vec<String> {
    let tree = Crate::read(files, CRATE);
    let core =
        tree.modules.iter().filter(|(name, _)| name.first().is_some_and(|top| CORE.contains(&top.as_str())));
    let found = core.flat_map(|(_, module)| {
        let http = module.paths.iter().filter(|path| HTTP_CRATES.contains(&path.segments[0].as_str()));
        http.map(|path| format!("{}: `{}` in the core", module.file.at(path.line), path.segments.join("::")))
    });
    found.collect()
}

#[cfg(test)]
mod tests;
