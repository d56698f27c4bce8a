//! Ceilings of rules that the tree does not meet yet: a count may fall, never rise.

/// Findings that a rule may have, by the rule's key. A rule without a row has a ceiling of 0.
const CEILINGS: &[(&str, usize)] =
    &[("actors", 70), ("circles", 27), ("old-names", 62), ("openings", 242), ("type-names", 13)];

/// Faults of the rule `key`: all of `findings` if its ceiling is 0, one line if they are above the ceiling, else none.
pub(crate) fn faults(key: &str, findings: Vec<String>) -> Vec<String> {
    let ceiling = CEILINGS.iter().find(|(name, _)| *name == key).map_or(0, |(_, ceiling)| *ceiling);
    let count = findings.len();
    if ceiling == 0 {
        return findings;
    }
    if count > ceiling {
        return vec![format!(
            "{count} findings; the ceiling is {ceiling}; `cargo xtask tidy --list {key}` lists them"
        )];
    }
    if count < ceiling {
        println!(
            "  note: {count} findings; lower the ceiling of `{key}` from {ceiling} in xtask/src/tidy/ratchet.rs"
        );
    }
    Vec::new()
}
