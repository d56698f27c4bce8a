//! Files that are missing, stale and current.

use super::{Generated, outdated, write};
use crate::workspace::Workspace;

const SAMPLES: &[Generated] = &[Generated { path: "docs/sample.md", text: |_| Ok("# Sample\n".to_owned()) }];

#[test]
fn a_file_is_written_once_and_found_stale_when_changed() {
    let folder = std::env::temp_dir().join(format!("tidings-generate-{}", std::process::id()));
    let path = folder.join("docs/sample.md");
    let workspace = Workspace { target: folder.join("target"), root: folder.clone() };
    assert_eq!(outdated(&workspace, SAMPLES).expect("it can be made").len(), 1);
    assert_eq!(write(&workspace, SAMPLES).expect("it can be written"), ["docs/sample.md"]);
    assert!(outdated(&workspace, SAMPLES).expect("it can be made").is_empty());
    assert!(write(&workspace, SAMPLES).expect("nothing to write").is_empty());
    std::fs::write(&path, "# Changed by hand\n").expect("it can be written");
    assert_eq!(
        outdated(&workspace, SAMPLES).expect("it can be made"),
        ["docs/sample.md is out of date; run `cargo xtask generate`"]
    );
    std::fs::remove_dir_all(&folder).expect("it can be removed");
}
