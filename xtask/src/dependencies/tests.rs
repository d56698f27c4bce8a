//! Each rule with a package that breaks it.

use super::{
    Package, REGISTRY, Rules, banned, duplicates, edges, licences, parse_packages, parse_rules, sources,
};

const DENY: &str = r#"
[licenses]
allow = ["MIT"]
[bans]
deny = [{ crate = "chrono", reason = "one time library" }]
skip = [{ crate = "syn@2", reason = "macros" }]
"#;

fn rules() -> Rules {
    parse_rules(DENY).expect("the sample is well formed")
}

fn package(name: &str, version: &str) -> Package {
    Package {
        name: name.to_owned(),
        version: version.to_owned(),
        licence: Some("MIT".to_owned()),
        source: Some(REGISTRY.to_owned()),
        uses: Vec::new(),
    }
}

#[test]
fn a_licence_that_is_not_allowed_or_not_named_is_a_fault() {
    let mut foreign = package("foreign", "1.0.0");
    foreign.licence = Some("GPL-3.0".to_owned());
    let mut unnamed = package("unnamed", "1.0.0");
    unnamed.licence = None;
    let faults = licences(&[package("fine", "1.0.0"), foreign, unnamed], &rules());
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].starts_with("foreign 1.0.0 is under `GPL-3.0`"));
    assert!(faults[1].starts_with("unnamed 1.0.0 names no licence"));
}

#[test]
fn two_versions_are_a_fault_unless_one_is_skipped() {
    let packages = [package("syn", "2.0.1"), package("syn", "3.0.0")];
    assert_eq!(duplicates(&packages, &rules()), [""; 0]);
    let packages = [package("syn", "2.0.1"), package("syn", "3.0.0"), package("syn", "4.0.0")];
    assert_eq!(duplicates(&packages, &rules()), ["syn stands in versions 3.0.0, 4.0.0; bring them to one"]);
}

#[test]
fn a_skip_that_no_longer_applies_is_a_fault() {
    let faults = duplicates(&[package("syn", "2.0.1")], &rules());
    assert_eq!(faults.len(), 1, "{faults:?}");
    let faults = duplicates(&[package("syn", "20.0.0"), package("syn", "3.0.0")], &rules());
    assert_eq!(faults.len(), 2, "`syn@2` is not `syn 20`: {faults:?}");
}

#[test]
fn a_banned_package_is_a_fault() {
    assert_eq!(banned(&[package("jiff", "1.0.0")], &rules()), [""; 0]);
    assert_eq!(banned(&[package("chrono", "1.0.0")], &rules()).len(), 1);
}

#[test]
fn a_package_from_elsewhere_is_a_fault() {
    let mut foreign = package("foreign", "1.0.0");
    foreign.source = Some("git+https://example.org/foreign".to_owned());
    assert_eq!(sources(&[package("fine", "1.0.0"), foreign]).len(), 1);
}

#[test]
fn our_crates_use_only_what_lies_below_them() {
    let own = |name: &str, uses: &[&str]| {
        let uses = uses.iter().map(|used| (*used).to_owned()).collect();
        Package { source: None, uses, ..package(name, "0.1.0") }
    };
    let fine = [
        own("tidings-protocol", &["serde"]),
        own("tidings", &["tidings-protocol", "tokio"]),
        own("tidings-server", &["tidings", "tidings-protocol"]),
    ];
    assert_eq!(edges(&fine), [""; 0]);
    let bad = [
        own("tidings-protocol", &["tokio", "tidings"]),
        own("tidings", &[]),
        own("tidings-client", &["tidings"]),
    ];
    assert_eq!(edges(&bad).len(), 3);
}

#[test]
fn packages_that_are_not_built_and_uses_of_tests_are_left_out() {
    let metadata = serde_json::json!({
        "resolve": { "nodes": [{ "id": "a 1" }] },
        "packages": [
            { "id": "a 1", "name": "a", "version": "1.0.0", "license": "MIT", "source": null, "dependencies": [
                { "name": "b", "kind": null }, { "name": "c", "kind": "dev" }, { "name": "d", "kind": "build" },
            ] },
            { "id": "w 1", "name": "w", "version": "1.0.0", "license": null, "source": REGISTRY, "dependencies": [] },
        ],
    });
    let packages = parse_packages(&metadata);
    assert_eq!(packages.len(), 1);
    assert_eq!(packages[0].uses, ["b", "d"]);
}

#[test]
fn rules_without_an_allowed_licence_are_refused() {
    assert!(parse_rules("[licenses]\nallow = []").is_err());
    assert!(parse_rules("[licenses").is_err());
}
