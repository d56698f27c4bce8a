//! Expressions that are met, that are not, and that are none.

use super::is_met;

const ALLOWED: &[&str] = &["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"];

#[test]
fn either_needs_one_and_both_needs_all() {
    assert!(is_met("MIT", ALLOWED));
    assert!(is_met("GPL-3.0 OR MIT", ALLOWED));
    assert!(is_met("GPL-3.0/MIT", ALLOWED));
    assert!(is_met("MIT AND ISC", ALLOWED));
    assert!(!is_met("MIT AND GPL-3.0", ALLOWED));
    assert!(!is_met("GPL-3.0", ALLOWED));
}

#[test]
fn and_binds_before_or_and_brackets_before_both() {
    assert!(is_met("MIT OR GPL-3.0 AND AGPL-3.0", ALLOWED));
    assert!(!is_met("(MIT OR GPL-3.0) AND AGPL-3.0", ALLOWED));
    assert!(is_met("(GPL-3.0 OR MIT) AND (ISC)", ALLOWED));
}

#[test]
fn an_exception_belongs_to_its_licence() {
    assert!(is_met("Apache-2.0 WITH LLVM-exception", ALLOWED));
    assert!(!is_met("Apache-2.0", ALLOWED));
    assert!(!is_met("MIT WITH LLVM-exception", ALLOWED));
}

#[test]
fn what_cannot_be_read_is_not_met() {
    for broken in ["", "MIT OR", "(MIT", "MIT)", "OR MIT", "MIT MIT", "MIT AND OR ISC"] {
        assert!(!is_met(broken, ALLOWED), "{broken}");
    }
}
