//! Lengths and first lines of Rust files.

use super::file::TextFile;

/// Past this a file is asked what its second idea is.
const LINES_MAX: usize = 600;
/// Past this it is named, to be thought about.
const LINES_LONG: usize = 400;

/// No Rust file is longer than the bound; long ones are printed.
pub(crate) fn lengths(files: &[TextFile]) -> Vec<String> {
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        let lines = file.text.lines().count();
        if lines > LINES_MAX {
            faults.push(format!("{} has {lines} lines; the limit is {LINES_MAX}", file.path));
        } else if lines > LINES_LONG {
            println!("  note: {} has {lines} lines", file.path);
        }
    }
    faults
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
