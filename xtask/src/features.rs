//! Lints each crate that has features with every set of them: none, each alone, all.
//!
//! The lints of the whole workspace turn features on wherever one crate asks for them, so code that only a smaller build
//! has is not seen there.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::process::{self, CHECK_LIMIT};
use crate::tally::Tally;
use crate::workspace::{Result, Workspace};

/// One crate with one set of its features.
#[derive(Debug, PartialEq, Eq)]
struct Build {
    package: String,
    /// Joined by commas; empty for none.
    features: String,
}

/// Counts one check for each build.
pub(crate) fn run(workspace: &Workspace, tally: &mut Tally) {
    let builds = match read(workspace) {
        Ok(builds) => builds,
        Err(error) => return tally.check("features", || Err(error)),
    };
    for Build { package, features } in builds {
        let shown = if features.is_empty() { "no features" } else { &features };
        let name = format!("lints: {package} with {shown}");
        let arguments =
            ["clippy", "--locked", "--all-targets", "--no-default-features", "--package", &package];
        let mut command = workspace.cargo(&arguments);
        command.args(["--features", &features, "--", "-D", "warnings"]);
        process::check(tally, &name, command, CHECK_LIMIT);
    }
}

fn read(workspace: &Workspace) -> Result<Vec<Build>> {
    Ok(builds(&workspace.metadata(&["--no-deps"])?))
}

/// The builds of all crates that have features.
fn builds(metadata: &Value) -> Vec<Build> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    packages.flat_map(|package| builds_of(package).unwrap_or_default()).collect()
}

fn builds_of(package: &Value) -> Option<Vec<Build>> {
    let name = package["name"].as_str()?;
    let features = package["features"].as_object()?.keys().filter(|feature| *feature != "default");
    let features: Vec<String> = features.cloned().collect();
    if features.is_empty() {
        return None;
    }
    // A set: where there is one feature, it alone is all of them.
    let sets = BTreeSet::from_iter([String::new(), features.join(",")].into_iter().chain(features));
    let build = |features| Build { package: name.to_owned(), features };
    Some(sets.into_iter().map(build).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Build, builds};

    fn check(features: &serde_json::Value, expected: &[&str]) {
        let metadata = json!({"packages": [{"name": "a", "features": features}]});
        let expected: Vec<Build> = expected
            .iter()
            .map(|features| Build { package: "a".to_owned(), features: (*features).to_owned() })
            .collect();
        assert_eq!(builds(&metadata), expected, "{features}");
    }

    #[test]
    fn each_set_of_features_is_one_build() {
        check(&json!({}), &[]);
        check(&json!({"default": ["x"], "x": []}), &["", "x"]);
        check(&json!({"x": [], "y": []}), &["", "x", "x,y", "y"]);
    }
}
