//! Relative links in documents lead to files of the repository.

use std::collections::BTreeSet;
use std::path::Path;

use super::file::TextFile;

/// Checks `[text](target)` and `[label]: target` in every Markdown file, outside code.
pub(crate) fn check(files: &[TextFile]) -> Vec<String> {
    let mut known: BTreeSet<String> = BTreeSet::from([String::new()]);
    for file in files {
        // A folder exists if a file is in it.
        known.extend(Path::new(&file.path).ancestors().map(|folder| folder.to_string_lossy().into_owned()));
    }
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        for (line, target) in targets(&file.text) {
            let Some(path) = resolve(&file.path, &target) else { continue };
            if !known.contains(&path) {
                faults.push(format!("{}: `{target}` leads nowhere", file.at(line)));
            }
        }
    }
    faults
}

/// The targets of all links, with their lines.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fence: Option<&str> = None;
    for (number, line) in text.lines().enumerate() {
        let start = line.trim_start();
        let mark = ["```", "~~~"].into_iter().find(|mark| start.starts_with(mark));
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            (None, None) => found.extend(targets_of_line(line).map(|target| (number + 1, target))),
            _ => {}
        }
    }
    found
}

fn targets_of_line(line: &str) -> impl Iterator<Item = String> {
    let plain = without_code(line);
    let inline = plain.match_indices("](").filter_map(|(at, mark)| {
        let rest = &plain[at + mark.len()..];
        rest.split_once(')').map(|(target, _)| target.to_owned())
    });
    let inline: Vec<String> = inline.collect();
    let label =
        plain.strip_prefix('[').and_then(|rest| rest.split_once("]: ")).map(|(_, target)| target.to_owned());
    // A title may follow the target.
    inline.into_iter().chain(label).filter_map(|target| target.split_whitespace().next().map(str::to_owned))
}

/// The line without what stands between backticks.
fn without_code(line: &str) -> String {
    if line.matches('`').count() < 2 {
        return line.to_owned();
    }
    line.split('`').step_by(2).collect::<Vec<_>>().join(" ")
}

/// The file that a relative link in `document` leads to, from the root; nothing for addresses and anchors.
fn resolve(document: &str, target: &str) -> Option<String> {
    let target = target.trim_start_matches('<').trim_end_matches('>');
    let path = target.split(['#', '?']).next().unwrap_or_default();
    let has_scheme = target.split_once(':').is_some_and(|(scheme, _)| !scheme.contains('/'));
    if path.is_empty() || has_scheme || target.starts_with("//") {
        return None;
    }
    let mut parts: Vec<&str> = match path.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => document.split('/').collect(),
    };
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            // Above the root there is nothing of ours.
            ".." if parts.is_empty() => return Some("..".to_owned()),
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests;
