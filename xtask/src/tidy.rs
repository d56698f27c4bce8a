//! `cargo xtask tidy`: the rules of ARCHITECTURE.md and of our style that a program can check.

mod code;
mod layout;
mod links;
mod manifests;
mod paths;
mod rows;
mod texts;
mod tokens;

use std::path::{Path, PathBuf};

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

type Rule = (&'static str, fn(&[TextFile]) -> Vec<String>);

/// The rules that look at nothing but text.
const RULES: &[Rule] = &[
    ("tidy: module rows use only rows below them", rows::check),
    ("tidy: the core names no HTTP types", code::no_http_in_the_core),
    ("tidy: no unbounded channel", code::no_unbounded_channel),
    ("tidy: only `node` starts tasks and threads", code::only_node_spawns),
    ("tidy: locks are of `sync`", code::locks_of_sync),
    ("tidy: files are short", layout::lengths),
    ("tidy: files begin with a sentence about them", layout::first_lines),
    ("tidy: no path of a machine, no registry host", texts::check),
    ("tidy: every dependency says what it is for", manifests::check),
];

/// Runs every rule; each counts as one check.
pub(crate) fn run(workspace: &Workspace, tally: &mut Tally) {
    let (names, files) = match read(workspace) {
        Ok(read) => read,
        Err(error) => return tally.check("tidy", || Err(error)),
    };
    for (name, rule) in RULES {
        tally.check(name, || Ok(rule(&files)));
    }
    tally.check("tidy: links in documents lead somewhere", || Ok(links::check(&files, &names)));
    tally.check("tidy: both licences are there", || Ok(licences(&files)));
}

fn read(workspace: &Workspace) -> Result<(Vec<PathBuf>, Vec<TextFile>)> {
    let names = workspace.files()?;
    let mut files = Vec::new();
    for name in &names {
        if let Some(text) = workspace.text(name)? {
            files.push(TextFile { path: slashed(name), text });
        }
    }
    Ok((names, files))
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
