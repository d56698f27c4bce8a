//! Inside the crate `tidings` a module uses only its own row and the rows below it.

use std::collections::BTreeMap;

use super::TextFile;
use super::paths::{UsePath, paths};
use super::tokens::{tokens, without_tests};

/// The crate that has rows.
pub(crate) const CRATE: &str = "crates/tidings/src/";

/// The rows of ARCHITECTURE.md, top first.
const ROWS: &[&[&str]] = &[
    &["fuzzing"],
    &["node"],
    &["http", "admin", "axum", "actix"],
    &["jobs", "sessions", "broadcast"],
    &["hub"],
    &["connection", "transport"],
    &["publish"],
    &["log", "broker"],
    &["auth"],
    &["config", "failpoint", "files", "limits", "metrics", "error", "wake", "sync"],
];

/// Checks every file of the crate but `lib.rs`, which puts the rows together, and tests.
pub(crate) fn check(files: &[TextFile]) -> Vec<String> {
    let exports = exports(files);
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| file.is_rust_in(CRATE) && !file.is_test()) {
        let module = module_of(&file.path);
        let Some(top) = module.first() else { continue };
        let Some(row) = row_of(top) else {
            faults.push(format!(
                "{}: `{top}` stands in no row; give it one in xtask and ARCHITECTURE.md",
                file.path
            ));
            continue;
        };
        for path in paths(&without_tests(&tokens(&file.text))) {
            let Some(used) = root_name(&path, &module) else { continue };
            if used == "*" {
                faults.push(format!(
                    "{}: `{top}` takes in the whole crate; name what it uses",
                    file.at(path.line)
                ));
                continue;
            }
            let used = exports.get(&used).unwrap_or(&used);
            if row_of(used).is_some_and(|used_row| used_row < row) {
                faults.push(format!("{}: `{top}` uses `{used}`, a row above it", file.at(path.line)));
            }
        }
    }
    faults
}

fn row_of(module: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&module))
}

/// The module path of a file: `crates/tidings/src/log/ring.rs` is `log::ring`, `lib.rs` is nothing.
pub(crate) fn module_of(path: &str) -> Vec<String> {
    let inner = path.strip_prefix(CRATE).unwrap_or(path).trim_end_matches(".rs");
    let mut module: Vec<String> = inner.split('/').map(str::to_owned).collect();
    if matches!(module.last().map(String::as_str), Some("lib" | "mod")) {
        module.pop();
    }
    module
}

/// What `lib.rs` gives out at the crate's root, and the module that each name comes from.
fn exports(files: &[TextFile]) -> BTreeMap<String, String> {
    let Some(file) = files.iter().find(|file| file.path == format!("{CRATE}lib.rs")) else {
        return BTreeMap::new();
    };
    let paths = paths(&without_tests(&tokens(&file.text)));
    let exported = paths.iter().filter_map(|path| {
        let segments = path.segments.iter().find(|segment| !matches!(segment.as_str(), "crate" | "self"))?;
        Some((path.name()?.to_owned(), segments.clone()))
    });
    exported.filter(|(name, module)| row_of(module).is_some() && row_of(name).is_none()).collect()
}

/// The name at the crate's root that a path in `module` goes through; nothing where it stays inside or leaves the crate.
fn root_name(path: &UsePath, module: &[String]) -> Option<String> {
    let mut segments = path.segments.iter().map(String::as_str).peekable();
    let mut place: Vec<&str> = match *segments.peek()? {
        "crate" => Vec::new(),
        "self" | "super" => module.iter().chain(&path.modules).map(String::as_str).collect(),
        _ => return None,
    };
    while let Some(step) = segments.next_if(|segment| matches!(*segment, "crate" | "self" | "super")) {
        if step == "super" {
            place.pop();
        }
    }
    if place.is_empty() { segments.next().map(str::to_owned) } else { None }
}

#[cfg(test)]
mod tests;
