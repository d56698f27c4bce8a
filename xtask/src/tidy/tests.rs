//! The rules that stand in `tidy` itself.

use super::{TextFile, licences};

fn file(path: &str, text: &str) -> TextFile {
    TextFile { path: path.to_owned(), text: text.to_owned() }
}

#[test]
fn both_licences_are_needed_with_their_texts() {
    let mit = file("LICENSE-MIT", "Permission is hereby granted, free of charge, …");
    let apache = file("LICENSE-APACHE", "Apache License …");
    assert_eq!(licences(&[mit, apache]), [""; 0]);
    assert_eq!(licences(&[file("LICENSE-MIT", "")]).len(), 2);
}

#[test]
fn test_files_are_told_by_their_place() {
    assert!(file("crates/a/src/b/tests.rs", "").is_test());
    assert!(file("crates/a/tests/all.rs", "").is_test());
    assert!(!file("crates/a/src/contests.rs", "").is_test());
}
