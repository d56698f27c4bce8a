//! Manifests with and without reasons, and edges that the table has or lacks.

use super::{edges, reasons};
use crate::tidy::file::TextFile;

fn faults(text: &str) -> Vec<String> {
    reasons(&[TextFile::new("crates/a/Cargo.toml", text)])
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

#[test]
fn a_crate_uses_only_crates_of_its_row() {
    let table = "| crate | uses | lacks |\n|---|---|---|\n| `tidings` | `tidings-log` | `chrono` |\n";
    let check = |name: &str, text: &str, expected: usize| {
        let manifest = TextFile::new(&format!("crates/{name}/Cargo.toml"), text);
        let found = edges(&[TextFile::new("ARCHITECTURE.md", table), manifest]);
        assert_eq!(found.len(), expected, "{text}: {found:?}");
    };
    check("tidings", "[dependencies]\ntidings-log.workspace = true\nserde = \"1\"", 0);
    check("tidings", "[dependencies]\ntidings-client.workspace = true\nchrono.workspace = true", 2);
    check("tidings", "[dev-dependencies]\ntidings-client.workspace = true", 0);
    check("other", "", 1);
}
