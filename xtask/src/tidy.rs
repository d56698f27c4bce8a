//! `cargo xtask tidy`: the rules of ARCHITECTURE.md and of our style that a program can check.

mod file;
mod layout;
mod links;
mod machines;
mod manifests;
mod modules;
mod old_names;
mod prose;
mod rows;
mod source;
mod tables;
mod type_names;
mod ways;

use crate::tally::Tally;
use crate::workspace::{Result, Workspace};
use file::TextFile;

/// A rule: its key for `--list`, its sentence, and the check that returns its findings.
type Rule = (&'static str, &'static str, fn(&[TextFile]) -> Vec<String>);

/// All rules. They look at nothing but text.
const RULES: &[Rule] = &[
    ("rows", "module rows use only rows below them", rows::check),
    ("edges", "crates use only crates of their row", manifests::edges),
    ("circles", "files of a crate use each other in one direction", modules::circles),
    ("ways", "ways of ARCHITECTURE.md lead from file to file", ways::check),
    ("http", "the core names no HTTP types", rows::no_http_in_the_core),
    ("lengths", "files are short", layout::lengths),
    ("first-lines", "files begin with a sentence about them", layout::first_lines),
    ("type-names", "one name, one type", type_names::check),
    ("old-names", "no name that was given up", old_names::check),
    ("openings", "sentences name their subject", prose::openings),
    ("actors", "actors have names", prose::unnamed_actors),
    ("papers", "pages for users name no paper of the developers", prose::internal_papers),
    ("machines", "no path of a machine, no registry host", machines::check),
    ("reasons", "every dependency says what it is for", manifests::reasons),
    ("links", "links in documents lead somewhere", links::check),
    ("licences", "both licences are there", licences),
];

/// Runs every rule; each counts as one check.
pub(crate) fn run(workspace: &Workspace, tally: &mut Tally) {
    let files = match read(workspace) {
        Ok(files) => files,
        Err(error) => return tally.check("tidy", || Err(error)),
    };
    for (_, sentence, rule) in RULES {
        tally.check(&format!("tidy: {sentence}"), || Ok(rule(&files)));
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
    let files = names.iter().map(|name| {
        let path = name.to_string_lossy().into_owned();
        Ok(TextFile { path, text: workspace.text(name)?.unwrap_or_default() })
    });
    files.collect()
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
mod tests {
    use super::file::TextFile;
    use super::licences;

    #[test]
    fn both_licences_are_needed_with_their_texts() {
        let mit = TextFile::new("LICENSE-MIT", "Permission is hereby granted, free of charge, …");
        let apache = TextFile::new("LICENSE-APACHE", "Apache License …");
        assert_eq!(licences(&[mit, apache]), [""; 0]);
        assert_eq!(licences(&[TextFile::new("LICENSE-MIT", "")]).len(), 2);
    }
}
