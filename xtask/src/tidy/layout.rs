//! Lengths and first lines of Rust files.

use super::file::TextFile;

/// A longer file has a second idea.
const LINES_MAX: usize = 600;

/// Returns the Rust files that are longer than the bound.
pub(crate) fn lengths(files: &[TextFile]) -> Vec<String> {
    let sources = files.iter().filter(|file| file.path.ends_with(".rs"));
    let lengths = sources.map(|file| (file, file.text.lines().count()));
    let long = lengths.filter(|(_, lines)| *lines > LINES_MAX);
    long.map(|(file, lines)| format!("{} has {lines} lines; the limit is {LINES_MAX}", file.path)).collect()
}

/// Every Rust file under a `src` folder begins with `//!` and a sentence.
pub(crate) fn first_lines(files: &[TextFile]) -> Vec<String> {
    let sources = files
        .iter()
        .filter(|file| file.path.ends_with(".rs") && file.path.split('/').any(|part| part == "src"))
        // Tests stand beside the file they are about, whose sentence speaks for them.
        .filter(|file| !file.is_test());
    sources
        .filter(|file| {
            let sentence = file.text.strip_prefix("//! ").and_then(|text| text.lines().next());
            sentence.is_none_or(|sentence| sentence.trim().is_empty())
        })
        .map(|file| format!("{}:1: begin with `//!` and a sentence about the file", file.path))
        .collect()
}

#[cfg(test)]
mod tests;
