//! Checks dependencies against `deny.toml`: licences, one version of each, bans, sources; and who may use whom here.
//!
//! `cargo deny check` does the same and reads the advisory database, too. That database comes from a git host, which a
//! machine that reaches only the crate registry cannot ask, so what must pass everywhere is checked here, from
//! `cargo metadata`, and advisories are left to people with a network.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use toml::{Table, Value as Toml};

use crate::tally::Tally;
use crate::workspace::Workspace;
use crate::{Result, spdx};

/// Where every dependency comes from; the name that cargo gives its default registry, on every machine.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";
/// What the published crates may use of this workspace; tools and binaries may use all.
const EDGES: &[(&str, &[&str])] = &[
    ("tidings-protocol", &[]),
    ("tidings-client", &["tidings-protocol"]),
    ("tidings", &["tidings-protocol"]),
];
/// `tidings-protocol` does no I/O, so it has nothing to do it with.
const PROTOCOL_LACKS: &[&str] = &["tokio", "hyper", "hyper-util", "axum", "rustix", "socket2"];

/// A package that is part of some build of the workspace.
#[derive(Debug)]
struct Package {
    name: String,
    version: String,
    licence: Option<String>,
    /// Nothing for the packages of this workspace.
    source: Option<String>,
    /// Names of what it uses outside its tests.
    uses: Vec<String>,
}

/// What `deny.toml` says.
#[derive(Debug, Default)]
struct Rules {
    licences: Vec<String>,
    banned: Vec<(String, String)>,
    /// `name@version`, the version as far as it matters.
    skipped: Vec<String>,
}

/// Counts one check each for licences, versions, bans, sources and edges.
pub(crate) fn run(workspace: &Workspace, tally: &mut Tally) {
    let (packages, rules) = match read(workspace) {
        Ok(read) => read,
        Err(error) => return tally.check("dependencies", || Err(error)),
    };
    tally.check("dependencies: licences", || Ok(licences(&packages, &rules)));
    tally.check("dependencies: one version of each", || Ok(duplicates(&packages, &rules)));
    tally.check("dependencies: none that is banned", || Ok(banned(&packages, &rules)));
    tally.check("dependencies: from the registry only", || Ok(sources(&packages)));
    tally.check("dependencies: between our own crates", || Ok(edges(&packages)));
}

fn read(workspace: &Workspace) -> Result<(Vec<Package>, Rules)> {
    let text = std::fs::read_to_string(workspace.root.join("deny.toml"))
        .map_err(|error| format!("deny.toml cannot be read: {error}"))?;
    let rules = parse_rules(&text)?;
    let mut arguments = vec!["--all-features"];
    let table: Table = text.parse().map_err(|error| format!("deny.toml: {error}"))?;
    let targets = strings(table.get("graph").and_then(|graph| graph.get("targets")));
    for target in &targets {
        arguments.extend(["--filter-platform", target]);
    }
    Ok((parse_packages(&workspace.metadata(&arguments)?), rules))
}

fn parse_rules(text: &str) -> Result<Rules> {
    let table: Table = text.parse().map_err(|error| format!("deny.toml: {error}"))?;
    let at = |section: &str, key: &str| table.get(section).and_then(|section| section.get(key));
    let entries = |key| at("bans", key).and_then(Toml::as_array).cloned().unwrap_or_default();
    let text_of = |entry: &Toml, key| entry.get(key).and_then(Toml::as_str).unwrap_or_default().to_owned();
    let rules = Rules {
        licences: strings(at("licenses", "allow")),
        banned: entries("deny")
            .iter()
            .map(|entry| (text_of(entry, "crate"), text_of(entry, "reason")))
            .collect(),
        skipped: entries("skip").iter().map(|entry| text_of(entry, "crate")).collect(),
    };
    if rules.licences.is_empty() {
        return Err("deny.toml allows no licence".to_owned());
    }
    Ok(rules)
}

fn strings(value: Option<&Toml>) -> Vec<String> {
    let values = value.and_then(Toml::as_array).map(Vec::as_slice).unwrap_or_default();
    values.iter().filter_map(Toml::as_str).map(str::to_owned).collect()
}

/// The packages that are built for some target; `packages` alone would also list those that none of them uses.
fn parse_packages(metadata: &Value) -> Vec<Package> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let nodes = list(&metadata["resolve"]["nodes"]);
    let built: BTreeSet<&str> = nodes.iter().filter_map(|node| node["id"].as_str()).collect();
    let packages = list(&metadata["packages"]);
    let packages =
        packages.iter().filter(|package| package["id"].as_str().is_some_and(|id| built.contains(id)));
    packages
        .map(|package| Package {
            name: text(&package["name"]).unwrap_or_default(),
            version: text(&package["version"]).unwrap_or_default(),
            licence: text(&package["license"]),
            source: text(&package["source"]),
            uses: list(&package["dependencies"])
                .iter()
                .filter(|used| used["kind"].as_str() != Some("dev"))
                .filter_map(|used| text(&used["name"]))
                .collect(),
        })
        .collect()
}

fn licences(packages: &[Package], rules: &Rules) -> Vec<String> {
    let allowed: Vec<&str> = rules.licences.iter().map(String::as_str).collect();
    let mut faults = Vec::new();
    for package in packages {
        match &package.licence {
            Some(licence) if spdx::is_met(licence, &allowed) => {}
            Some(licence) => faults.push(format!(
                "{} {} is under `{licence}`, which deny.toml does not allow",
                package.name, package.version
            )),
            None => faults.push(format!("{} {} names no licence", package.name, package.version)),
        }
    }
    faults
}

fn duplicates(packages: &[Package], rules: &Rules) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages {
        versions.entry(&package.name).or_default().insert(&package.version);
    }
    let mut faults = Vec::new();
    for (name, versions) in &versions {
        let counted: Vec<&str> =
            versions.iter().copied().filter(|version| !is_skipped(name, version, rules)).collect();
        if counted.len() > 1 {
            faults.push(format!("{name} stands in versions {}; bring them to one", counted.join(", ")));
        }
    }
    for skipped in &rules.skipped {
        let name = skipped.split('@').next().unwrap_or_default();
        let several = versions.get(name).filter(|versions| versions.len() > 1);
        if !several.is_some_and(|versions| versions.iter().any(|version| names(skipped, name, version))) {
            faults.push(format!(
                "deny.toml skips `{skipped}`, which stands beside no other version; take it out"
            ));
        }
    }
    faults
}

fn is_skipped(name: &str, version: &str, rules: &Rules) -> bool {
    rules.skipped.iter().any(|skipped| names(skipped, name, version))
}

/// Whether `entry`, such as `syn@2`, names this version of this package.
fn names(entry: &str, name: &str, version: &str) -> bool {
    let Some((entry_name, entry_version)) = entry.split_once('@') else { return false };
    let rest = version.strip_prefix(entry_version);
    entry_name == name && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-', '+']))
}

fn banned(packages: &[Package], rules: &Rules) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, reason) in &rules.banned {
        if packages.iter().any(|package| package.name == *name) {
            faults.push(format!("{name} is banned: {reason}; `cargo tree -i {name}` shows what brings it"));
        }
    }
    faults
}

fn sources(packages: &[Package]) -> Vec<String> {
    let others = packages.iter().filter_map(|package| {
        let source = package.source.as_deref().filter(|source| *source != REGISTRY)?;
        Some(format!(
            "{} {} comes from `{source}`; only the registry is allowed",
            package.name, package.version
        ))
    });
    others.collect()
}

fn edges(packages: &[Package]) -> Vec<String> {
    let own: BTreeSet<&str> = packages
        .iter()
        .filter(|package| package.source.is_none())
        .map(|package| package.name.as_str())
        .collect();
    let mut faults = Vec::new();
    for package in packages.iter().filter(|package| package.source.is_none()) {
        let edge = EDGES.iter().find(|(name, _)| *name == package.name);
        for used in &package.uses {
            let is_own_fault = own.contains(used.as_str())
                && edge.is_some_and(|(_, allowed)| !allowed.contains(&used.as_str()));
            let is_io = package.name == "tidings-protocol" && PROTOCOL_LACKS.contains(&used.as_str());
            if is_own_fault || is_io {
                faults.push(format!("{} must not use {used}", package.name));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests;
