//! Which crate may depend on which. What is not listed here is refused: that the queue's side knows nothing of HTTP,
//! and the other way round, cannot be seen in code, only in what is absent.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;

use super::TreeFile;
use crate::checkout::{Checkout, output};

/// A crate, and the crates of this workspace that it may use in what it ships.
const ALLOWED: [(&str, &[&str]); 12] = [
    ("wire", &[]),
    ("compress", &[]),
    ("resolve", &[]),
    ("client", &["compress", "resolve", "wire"]),
    ("journal", &[]),
    ("broker", &["compress", "journal", "resolve", "wire"]),
    ("delivery", &["resolve"]),
    ("pipeline", &["client", "delivery"]),
    ("posthaste", &["pipeline", "client", "delivery", "broker"]),
    ("testkit", &["wire"]),
    ("posthaste-bench", &["testkit"]),
    ("xtask", &[]),
];

/// What any crate may use in its tests, beside itself: that is how it turns on a feature that is for tests only.
/// `posthaste-tests` is nothing but tests, so it may use every crate.
const IN_TESTS: &str = "testkit";
const ONLY_TESTS: &str = "posthaste-tests";

pub(super) fn broken(checkout: &Checkout) -> Result<Vec<String>> {
    let mut cargo = checkout.cargo();
    cargo.args(["metadata", "--no-deps", "--format-version=1", "--locked"]);
    let metadata: Value = serde_json::from_str(&output(&mut cargo)?)?;
    broken_in(&metadata).context("cargo metadata has changed its shape")
}

fn broken_in(metadata: &Value) -> Option<Vec<String>> {
    let packages = metadata["packages"].as_array()?;
    let ours: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let mut broken = Vec::new();
    for package in packages {
        let name = package["name"].as_str()?;
        let allowed = ALLOWED.iter().find(|(known, _)| *known == name).map(|(_, allowed)| *allowed);
        if allowed.is_none() && name != ONLY_TESTS {
            broken
                .push(format!("{name}: a crate that the map does not have (see `ALLOWED`, and the design)"));
        }
        for dependency in package["dependencies"].as_array()? {
            let used = dependency["name"].as_str()?;
            let in_tests = dependency["kind"] == "dev";
            let fits = allowed.is_some_and(|allowed| allowed.contains(&used))
                || (in_tests && [IN_TESTS, name].contains(&used));
            if ours.contains(used) && name != ONLY_TESTS && !fits {
                broken.push(format!("{name} must not depend on {used}"));
            }
        }
    }
    Some(broken)
}

/// `forbid(unsafe_code)` and its like stand in the workspace once; a crate that does not ask for them has none.
pub(super) fn without_lints(files: &[TreeFile]) -> Vec<String> {
    let manifests = files.iter().filter(|file| file.path.ends_with("/Cargo.toml"));
    let without = manifests.filter(|file| !file.text.contains("[lints]\nworkspace = true\n"));
    without.map(|file| format!("{}: `[lints] workspace = true` is missing", file.path)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::broken_in;

    fn metadata(name: &str, used: &str, kind: Option<&str>) -> Value {
        json!({ "packages": [
            { "name": name, "dependencies": [{ "name": used, "kind": kind }, { "name": "bytes", "kind": null }] },
            { "name": used, "dependencies": [] },
        ] })
    }

    #[test]
    fn an_edge_outside_the_map_is_named() {
        let broken = broken_in(&metadata("delivery", "wire", None)).expect("it has cargo's shape");
        assert_eq!(broken, ["delivery must not depend on wire"]);
    }

    #[test]
    fn the_testkit_is_for_tests_only() {
        assert_eq!(broken_in(&metadata("client", "testkit", Some("dev"))), Some(vec![]));
        assert_eq!(broken_in(&metadata("client", "testkit", None)).map(|broken| broken.len()), Some(1));
    }

    #[test]
    fn a_new_crate_must_be_put_on_the_map() {
        assert_eq!(broken_in(&metadata("extras", "wire", None)).map(|broken| broken.len()), Some(2));
    }
}
