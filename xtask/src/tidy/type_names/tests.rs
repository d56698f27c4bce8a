//! Definitions that count, and uses that do not.

use super::check;
use crate::tidy::file::TextFile;

fn findings(texts: &[&str]) -> Vec<String> {
    let file = |(number, text): (usize, &&str)| TextFile::new(&format!("crates/a/src/{number}.rs"), text);
    check(&texts.iter().enumerate().map(file).collect::<Vec<_>>())
}

#[test]
fn a_name_is_defined_once_in_all_crates() {
    let again = ["crates/a/src/1.rs:2: `State` is defined at crates/a/src/0.rs:1, too"];
    assert_eq!(findings(&["struct State;", "\npub(crate) enum State {}"]), again);
    assert_eq!(findings(&["trait State {}", "\ntype State = u8;"]), again);
    assert_eq!(findings(&["struct State;", "\n    struct State;"]), again, "also in a function");
}

#[test]
fn uses_associated_types_and_exceptions_are_free() {
    assert_eq!(findings(&["struct State;", "use a::State;\n// struct State\nimpl State {}"]), [""; 0]);
    assert_eq!(findings(&["struct Item;", "impl Iterator for A {\n    type Item = u8;\n}"]), [""; 0]);
    assert_eq!(findings(&["pub enum Error {}", "struct Error;"]), [""; 0]);
}
