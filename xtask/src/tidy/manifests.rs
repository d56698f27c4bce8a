//! Every dependency has a comment that says what it is for.

use super::TextFile;

/// Checks every `Cargo.toml`: a dependency that is neither `workspace = true` nor a path is explained where it stands.
pub(crate) fn check(files: &[TextFile]) -> Vec<String> {
    let manifests = files.iter().filter(|file| file.path.rsplit('/').next() == Some("Cargo.toml"));
    manifests.flat_map(unexplained).collect()
}

/// The dependencies without a comment directly above them; one comment may serve the lines directly below it.
fn unexplained(file: &TextFile) -> Vec<String> {
    let mut faults = Vec::new();
    let mut in_dependencies = false;
    let mut is_explained = false;
    for (number, line) in file.text.lines().enumerate() {
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[').filter(|_| line.ends_with(']') && !line.contains('=')) {
            in_dependencies = section.trim_end_matches(']').ends_with("dependencies");
            is_explained = false;
        } else if line.is_empty() {
            is_explained = false;
        } else if line.starts_with('#') {
            is_explained = true;
        } else if in_dependencies && begins_dependency(line) && !is_explained {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
            faults
                .push(format!("{}: say above `{name}` what it is for and why this one", file.at(number + 1)));
        }
    }
    faults
}

/// Whether the line names a dependency that comes from a registry.
fn begins_dependency(line: &str) -> bool {
    let names = line.starts_with(|first: char| first.is_ascii_alphanumeric()) && line.contains('=');
    let compact: String = line.split_whitespace().collect();
    names && !compact.contains("workspace=true") && !compact.contains("path=")
}

#[cfg(test)]
mod tests;
