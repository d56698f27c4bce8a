//! Text files of the repository, and the patterns that rules look for in them.

use std::cell::RefCell;
use std::collections::BTreeMap;

use regex::Regex;

/// A text file of the repository.
#[derive(Debug)]
pub(crate) struct TextFile {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl TextFile {
    /// Whether this is a Rust file in `folder`, which ends with `/`.
    pub(crate) fn is_rust_in(&self, folder: &str) -> bool {
        self.path.ends_with(".rs") && self.path.starts_with(folder)
    }

    /// Whether all of the file is test code.
    pub(crate) fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.split('/').any(|part| part == "tests")
    }

    /// `path:line`, as editors open it.
    pub(crate) fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path)
    }

    #[cfg(test)]
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }
}

/// Returns the pattern of a rule, which is compiled once.
pub(crate) fn regex(pattern: &'static str) -> Regex {
    thread_local! {
        static COMPILED: RefCell<BTreeMap<&'static str, Regex>> = const { RefCell::new(BTreeMap::new()) };
    }
    let compile = || Regex::new(pattern).expect("the pattern of a rule is valid");
    COMPILED.with_borrow_mut(|compiled| compiled.entry(pattern).or_insert_with(compile).clone())
}

#[cfg(test)]
mod tests {
    use super::TextFile;

    #[test]
    fn test_files_are_told_by_their_place() {
        assert!(TextFile::new("crates/a/src/b/tests.rs", "").is_test());
        assert!(TextFile::new("crates/a/tests/all.rs", "").is_test());
        assert!(!TextFile::new("crates/a/src/contests.rs", "").is_test());
    }
}
