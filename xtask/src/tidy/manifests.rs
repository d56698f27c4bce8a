//! Manifests: each dependency has its reason, and crates depend on each other as ARCHITECTURE.md says.

use std::collections::BTreeMap;

use super::file::TextFile;
use super::tables;

/// Returns the dependencies without a comment above them; one comment serves the lines directly below it.
pub(crate) fn reasons(files: &[TextFile]) -> Vec<String> {
    let manifests = files.iter().filter(|file| file.path.rsplit('/').next() == Some("Cargo.toml"));
    let found = manifests.flat_map(|file| {
        let unexplained =
            dependencies(file).filter(|dependency| dependency.is_external && !dependency.is_explained);
        unexplained.map(|dependency| {
            format!(
                "{}: say above `{}` what it is for and why this one",
                file.at(dependency.line),
                dependency.name
            )
        })
    });
    found.collect()
}

/// Returns each dependency of a crate on a crate or library that its row of the table in ARCHITECTURE.md does not have.
pub(crate) fn edges(files: &[TextFile]) -> Vec<String> {
    let rows = tables::read(files, "crate");
    let rows: BTreeMap<&str, &[tables::Cell]> =
        rows.iter().map(|row| (row[0][0].as_str(), row.as_slice())).collect();
    let mut found = Vec::new();
    for file in files {
        let Some(name) = file.path.strip_prefix("crates/").and_then(|path| path.strip_suffix("/Cargo.toml"))
        else {
            continue;
        };
        let Some([_, uses, lacks, ..]) = rows.get(name) else {
            found.push(format!(
                "{}: `{name}` has no row in the table of crates in ARCHITECTURE.md",
                file.path
            ));
            continue;
        };
        for dependency in dependencies(file).filter(|dependency| !dependency.is_for_tests) {
            let used = dependency.name.to_owned();
            if (used.starts_with("tidings") && !uses.contains(&used)) || lacks.contains(&used) {
                found.push(format!("{}: `{name}` must not use `{used}`", file.at(dependency.line)));
            }
        }
    }
    found
}

struct Dependency<'a> {
    name: &'a str,
    line: usize,
    /// From a registry, and not described in the workspace's manifest.
    is_external: bool,
    is_explained: bool,
    is_for_tests: bool,
}

fn dependencies(file: &TextFile) -> impl Iterator<Item = Dependency<'_>> {
    let mut section = "";
    let mut is_explained = false;
    file.text.lines().enumerate().filter_map(move |(number, line)| {
        let line = line.trim();
        let is_heading = line.starts_with('[') && line.ends_with(']') && !line.contains('=');
        if is_heading {
            section = line.trim_end_matches(']');
        }
        if is_heading || line.is_empty() || line.starts_with('#') {
            is_explained = line.starts_with('#');
            return None;
        }
        let begins = line.starts_with(|first: char| first.is_ascii_alphanumeric()) && line.contains('=');
        (begins && section.ends_with("dependencies")).then(|| Dependency {
            name: line.split(['=', '.', ' ']).next().unwrap_or_default(),
            line: number + 1,
            is_external: !["workspace=true", "path="].iter().any(|word| line.replace(' ', "").contains(word)),
            is_explained,
            is_for_tests: section.ends_with("dev-dependencies"),
        })
    })
}

#[cfg(test)]
mod tests;
