//! Manifests with and without reasons.

use super::check;
use crate::tidy::TextFile;

fn faults(text: &str) -> Vec<String> {
    check(&[TextFile { path: "crates/a/Cargo.toml".to_owned(), text: text.to_owned() }])
}

#[test]
fn a_comment_serves_the_lines_directly_below_it() {
    assert_eq!(faults("[workspace.dependencies]\n# One.\nhttp = \"1\"\nhttp-body = \"1\"\n"), [""; 0]);
}

#[test]
fn a_dependency_without_a_reason_is_named() {
    let found = faults("[workspace.dependencies]\n# One.\nhttp = \"1\"\n\nrand = { version = \"1\" }\n");
    assert_eq!(found, ["crates/a/Cargo.toml:5: say above `rand` what it is for and why this one"]);
    assert_eq!(faults("# A file.\n[dev-dependencies]\nrand = \"1\"\n").len(), 1);
    assert_eq!(faults("[target.'cfg(unix)'.dependencies]\nrand = \"1\"\n").len(), 1);
}

#[test]
fn workspace_dependencies_paths_and_other_sections_are_free() {
    let text = "[package]\nname = \"a\"\n[dependencies]\nserde.workspace = true\nhttp = { workspace = true }\n\
                b = { path = \"../b\" }\n[features]\ndefault = []\n";
    assert_eq!(faults(text), [""; 0]);
}
