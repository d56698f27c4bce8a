//! Openings and words that are banned, and those that only look like it.

use super::{internal_papers, openings, unnamed_actors};
use crate::tidy::file::TextFile;

fn count(rule: fn(&[TextFile]) -> Vec<String>, path: &str, text: &str) -> usize {
    rule(&[TextFile::new(path, text)]).len()
}

#[test]
fn headless_openings_are_found_in_comments_documents_and_texts() {
    let check = |path, text, expected| assert_eq!(count(openings, path, text), expected, "{text}");
    check("a.rs", "/// What is kept.", 1);
    check("a.rs", "let a = 1; // Short. Who asks waits.", 1);
    check("a.rs", "//! One that waits.", 1);
    check("a.rs", "//! One thread for each core.", 0);
    check("a.rs", "/// Whether it waits.", 0);
    check("a.rs", "// Whether it waits, is unknown.", 1);
    check("a.rs", "/// Waits. Whether it does, is unknown.", 1);
    check("a.rs", "/// Reads `What` at https://example.org/What", 1);
    check("a.rs", "let a = \"where there is none\";", 1);
    check("a/tests.rs", "let a = \"where there is none\";", 0);
    check("a.md", "That there are two is wrong.\n```\nWhat\n```", 1);
    check("a.md", "That is right.", 0);
    check("a.md", "| `a` | Whether it waits. |\nWhether it waits, is unknown.", 1);
    check("a.js", "wait(); // What is kept.\n\"// what\"", 1);
    check("a.toml", "a = 1 # Who asks waits.\n# A name.", 1);
    check("CHANGELOG.md", "## Unreleased\nWhat\n## 0.1\nWhat", 1);
}

#[test]
fn unnamed_actors_are_found_anywhere() {
    let check = |text, expected| assert_eq!(count(unnamed_actors, "a.rs", text), expected, "{text}");
    check("// Waits until nobody asks.", 1);
    check("f(\"nobody asks\"); // The history.", 1);
    check("nobody();", 0);
}

#[test]
fn pages_for_users_name_no_internal_paper() {
    assert_eq!(count(internal_papers, "docs/a.md", "See the contract."), 1);
    assert_eq!(count(internal_papers, "docs/a.md", "Contracts of work."), 0);
    assert_eq!(count(internal_papers, "DESIGN.md", "The guides."), 0);
}
