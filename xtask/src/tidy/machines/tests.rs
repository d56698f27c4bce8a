//! Lines that bind a checkout to a machine or a network.

use super::{MACHINE_PATHS, REGISTRY_HOSTS, check};
use crate::tidy::file::TextFile;

fn faults(path: &str, text: &str) -> usize {
    check(&[TextFile::new(path, text)]).len()
}

#[test]
fn every_listed_path_and_host_is_found() {
    for word in MACHINE_PATHS.iter().chain(REGISTRY_HOSTS) {
        assert_eq!(faults("docs/a.md", &format!("see\n{word}b")), 1, "{word}");
    }
}

#[test]
fn a_folder_of_that_name_within_a_path_is_free() {
    assert_eq!(faults("docs/a.md", &format!("target{}b and docs", MACHINE_PATHS[1])), 0);
}

#[test]
fn npm_lock_files_hold_no_address() {
    let line = "  \"resolved\": \"https://example.org/a.tgz\",";
    assert_eq!(faults("tests/package-lock.json", line), 1);
    assert_eq!(faults("docs/a.json", line), 0);
    assert_eq!(faults("tests/package-lock.json", "  \"resolved\": \"../a\","), 0);
}
