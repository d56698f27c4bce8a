//! The order of the locks is one, and the document has it.

use std::ptr;

use tidings_sync::Lock;

const DOCUMENT: &str = include_str!("../../../../docs/locks.md");

/// The rows of all crates, from the outermost lock to the innermost.
fn all() -> Vec<&'static Lock> {
    [super::ALL, tidings_redis::lock::ALL, tidings_log::lock::ALL].concat()
}

#[test]
fn a_lock_allows_only_locks_below_it() {
    let all = all();
    for (row, lock) in all.iter().enumerate() {
        for inner in lock.inner() {
            let below = &all[row + 1..];
            let (lock, name) = (lock.name(), inner.name());
            assert!(
                below.iter().any(|it| ptr::eq(*it, *inner)),
                "{lock} allows {name}, which stands above it"
            );
        }
    }
}

#[test]
fn the_document_has_every_lock_in_order_with_what_it_allows() {
    let rows: Vec<(&str, &str)> = DOCUMENT
        .lines()
        .filter_map(|line| {
            let [_, lock, _, _, inner, _] = line.split('|').collect::<Vec<_>>().try_into().ok()?;
            Some((lock.trim().strip_prefix('`')?.strip_suffix('`')?, inner.trim()))
        })
        .collect();
    let expected: Vec<(&str, String)> = all()
        .iter()
        .map(|lock| {
            let inner: Vec<String> = lock.inner().iter().map(|inner| format!("`{}`", inner.name())).collect();
            (lock.name(), inner.join(", "))
        })
        .collect();
    for (row, expected) in rows.iter().zip(&expected) {
        assert_eq!((row.0, row.1), (expected.0, expected.1.as_str()));
    }
    assert_eq!(rows.len(), expected.len());
}
