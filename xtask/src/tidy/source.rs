//! Rust as rules read it: code without comments, strings and tests, and the paths that the code names.

use std::ops::Range;

use regex::Captures;

use super::file::regex;

/// A path such as `crate::log::Entry`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NamedPath {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
    pub(crate) place: Place,
    /// The number of modules within the file that the path stands in.
    pub(crate) depth: usize,
}

/// The place of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Within code.
    Code,
    /// In a `use` that brings in this name; `is_public` if it has a `pub`.
    Use { name: String, is_public: bool },
}

/// A `use`: its `pub`, and its tree.
const USE: &str = r"(?m)^[ \t]*(pub(?:\([^)]*\))? )?use ([^;]+);";
/// Comments, strings and characters, whichever begins first.
const HIDDEN: &str = r##"(?s)//[^\n]*|/\*.*?\*/|r#{2}".*?"#{2}|r#".*?"#|\br".*?"|"(?:[^"\\]|\\.)*"|'(?:[^'\\\n]|\\'|\\[^']+)'"##;

/// Returns the code that ships: comments, strings and items under `#[cfg(test)]` are gone, lines keep their numbers.
pub(crate) fn shipped(text: &str) -> String {
    let lines_of = |found: &Captures<'_>| "\n".repeat(found[0].matches('\n').count());
    without_tests(&regex(HIDDEN).replace_all(text, lines_of))
}

/// Returns `code` without the items under `#[cfg(test)]`, which end as rustfmt lays them out: at their own indentation.
fn without_tests(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut test_indent = None;
    for line in code.lines() {
        let start = line.trim_start();
        let indent = line.len() - start.len();
        match test_indent {
            None if start.starts_with("#[cfg(test)]") || start.starts_with("#[cfg(all(test,") => {
                test_indent = Some(indent);
            }
            None => kept.push_str(line),
            Some(test) => {
                let is_end = line.trim_end().ends_with([';', '}', ',']) && !start.starts_with('#');
                if indent == test && is_end {
                    test_indent = None;
                }
            }
        }
        kept.push('\n');
    }
    kept
}

/// Returns each path of two or more segments in shipped `code`, and each name that a `use` brings in.
pub(crate) fn paths(code: &str) -> Vec<NamedPath> {
    let statement = regex(USE);
    let lines: Vec<usize> = code.match_indices('\n').map(|(at, _)| at).collect();
    let modules = inner_modules(code);
    let named = |segments: Vec<String>, at: usize, place: Place| {
        let line = lines.partition_point(|end| *end < at) + 1;
        let depth = modules.iter().filter(|module| module.contains(&line)).count();
        NamedPath { segments, line, place, depth }
    };
    let mut found = Vec::new();
    for import in statement.captures_iter(code) {
        let at = import.get(2).map_or(0, |tree| tree.start());
        for (segments, name) in expand(&import[2]) {
            found.push(named(segments, at, Place::Use { name, is_public: import.get(1).is_some() }));
        }
    }
    let uses: Vec<Range<usize>> = statement.find_iter(code).map(|found| found.range()).collect();
    for path in regex(r"\b[a-z_]\w*(?:::\w+)+").find_iter(code) {
        // `pub(in crate::log)` uses nothing.
        let is_visibility = code[..path.start()].ends_with("(in ");
        if !is_visibility && !uses.iter().any(|statement| statement.contains(&path.start())) {
            let segments = path.as_str().split("::").map(str::to_owned).collect();
            found.push(named(segments, path.start(), Place::Code));
        }
    }
    found
}

/// The lines of each module with braces.
fn inner_modules(code: &str) -> Vec<Range<usize>> {
    let opening = regex(r"^(\s*)(?:pub(?:\([^)]*\))? )?mod \w+ \{$");
    let lines: Vec<&str> = code.lines().collect();
    let opened = lines
        .iter()
        .enumerate()
        .filter_map(|(at, line)| Some((at, opening.captures(line)?.get(1)?.as_str())));
    let modules = opened.map(|(at, indent)| {
        let end = lines.iter().skip(at).position(|line| *line == format!("{indent}}}"));
        at + 1..at + 1 + end.unwrap_or(lines.len())
    });
    modules.collect()
}

/// Returns shipped `code` without its `use` statements.
pub(crate) fn without_uses(code: &str) -> String {
    regex(USE).replace_all(code, "").into_owned()
}

/// Whether `code` has `word` as a whole word.
pub(crate) fn has_word(code: &str, word: &str) -> bool {
    let is_part = |next: Option<char>| next.is_some_and(|next| next.is_alphanumeric() || next == '_');
    code.match_indices(word).any(|(at, _)| {
        !is_part(code[..at].chars().next_back()) && !is_part(code[at + word.len()..].chars().next())
    })
}

/// Takes apart the tree of a `use` into paths, each with the name that it brings in.
fn expand(tree: &str) -> Vec<(Vec<String>, String)> {
    let tree = tree.trim().trim_start_matches("::");
    let Some((prefix, group)) = tree.split_once('{') else {
        let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias)));
        let mut segments: Vec<String> = path.split("::").map(|segment| segment.trim().to_owned()).collect();
        if segments.len() > 1 && segments.last().is_some_and(|last| last == "self") {
            segments.pop();
        }
        let name = alias.map(|alias| alias.trim().to_owned()).or_else(|| segments.last().cloned());
        return vec![(segments, name.unwrap_or_default())];
    };
    let group = group.trim_end().strip_suffix('}').unwrap_or(group);
    let trees = split_group(group).into_iter().filter(|tree| !tree.trim().is_empty());
    trees.flat_map(|tree| expand(&format!("{}{}", prefix.trim(), tree.trim()))).collect()
}

/// Splits at the commas outside of inner braces.
fn split_group(group: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&group[start..]);
    parts
}

#[cfg(test)]
mod tests;
