//! `cargo xtask tidy`: the rules of ARCHITECTURE.md and of our style that a program can check.

mod circles;
mod code;
mod layout;
mod links;
mod manifests;
mod old_names;
mod paths;
mod prose;
mod ratchet;
mod rows;
mod source;
mod texts;
mod tokens;
mod type_names;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regex::Regex;

use crate::Result;
use crate::tally::Tally;
use crate::workspace::Workspace;

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

    /// Whether all of the file is test code, which is free in what it uses.
    pub(crate) fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.split('/').any(|part| part == "tests")
    }

    /// `path:line`, as editors open it.
    pub(crate) fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path)
    }
}

/// A rule: its key for `--list` and ceilings, its sentence, and the check that returns its findings.
type Rule = (&'static str, &'static str, fn(&[TextFile]) -> Vec<String>);

/// All rules. They look at nothing but text.
const RULES: &[Rule] = &[
    ("rows", "module rows use only rows below them", rows::check),
    ("circles", "files of a crate use each other in one direction", circles::check),
    ("http", "the core names no HTTP types", code::no_http_in_the_core),
    ("channels", "no unbounded channel", code::no_unbounded_channel),
    ("spawns", "only `node` starts tasks and threads", code::only_node_spawns),
    ("locks", "locks are of `sync`", code::locks_of_sync),
    ("lengths", "files are short", layout::lengths),
    ("first-lines", "files begin with a sentence about them", layout::first_lines),
    ("type-names", "one name, one type", type_names::check),
    ("old-names", "no name that was given up", old_names::check),
    ("openings", "sentences name their subject", prose::openings),
    ("actors", "actors have names", prose::unnamed_actors),
    ("papers", "pages for users name no paper of the developers", prose::internal_papers),
    ("machines", "no path of a machine, no registry host", texts::check),
    ("manifests", "every dependency says what it is for", manifests::check),
    ("links", "links in documents lead somewhere", links::check),
    ("licences", "both licences are there", licences),
];

/// Runs every rule; each counts as one check.
pub(crate) fn run(workspace: &Workspace, tally: &mut Tally) {
    let files = match read(workspace) {
        Ok(files) => files,
        Err(error) => return tally.check("tidy", || Err(error)),
    };
    for (key, sentence, rule) in RULES {
        tally.check(&format!("tidy: {sentence}"), || Ok(ratchet::faults(key, rule(&files))));
    }
}

/// Prints the findings of the rule `key`.
///
/// # Errors
/// There is no such rule.
pub(crate) fn list(workspace: &Workspace, key: &str) -> Result<()> {
    let Some((_, _, rule)) = RULES.iter().find(|(name, ..)| *name == key) else {
        let keys: Vec<&str> = RULES.iter().map(|(name, ..)| *name).collect();
        return Err(format!("no rule `{key}`; there are {}", keys.join(", ")));
    };
    let findings = rule(&read(workspace)?);
    for finding in &findings {
        println!("{finding}");
    }
    println!("{} findings", findings.len());
    Ok(())
}

/// Reads all files of the repository; the text of a file that is no text is empty.
fn read(workspace: &Workspace) -> Result<Vec<TextFile>> {
    let names = workspace.files()?;
    let read = |name: &PathBuf| {
        Ok(TextFile { path: slashed(name), text: workspace.text(name)?.unwrap_or_default() })
    };
    names.iter().map(read).collect()
}

/// Returns the pattern of a rule, which is compiled once.
fn regex(pattern: &'static str) -> Regex {
    thread_local! {
        static COMPILED: RefCell<BTreeMap<&'static str, Regex>> = const { RefCell::new(BTreeMap::new()) };
    }
    let compile = || Regex::new(pattern).expect("the pattern of a rule is valid");
    COMPILED.with_borrow_mut(|compiled| compiled.entry(pattern).or_insert_with(compile).clone())
}

fn slashed(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "/")
}

fn licences(files: &[TextFile]) -> Vec<String> {
    let texts = [
        ("LICENSE-MIT", "Permission is hereby granted, free of charge"),
        ("LICENSE-APACHE", "Apache License"),
    ];
    let missing = texts
        .iter()
        .filter(|(path, words)| !files.iter().any(|file| file.path == *path && file.text.contains(words)));
    missing.map(|(path, _)| format!("{path} is missing or has another text")).collect()
}

#[cfg(test)]
mod tests;
