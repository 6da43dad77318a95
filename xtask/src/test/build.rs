//! One build of everything that is tested.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use super::program::TestProgram;
use crate::checkout::{Checkout, output};

pub(super) struct Built {
    pub(super) posthaste: PathBuf,
    pub(super) tests: Vec<TestProgram>,
}

impl Built {
    /// Gives every test program these variables, and the path of the program under test.
    pub(super) fn with_env(mut self, environment: &[(&'static str, OsString)]) -> Built {
        for program in &mut self.tests {
            program.env("POSTHASTE_BIN", &self.posthaste);
            environment.iter().for_each(|(name, value)| program.env(name, value));
        }
        self
    }
}

/// What everything that is tested is built with: the release profile without its slow link.
pub(super) const PROFILE: &str = "--profile=checks";

/// What users build with.
pub(super) const RELEASE: &str = "--release";

/// Builds all tests and the program in one go. The program so gets what the tests ask of its dependencies, too (a clock that
/// can be paused, for one), which costs it nothing: with the features of its users alone, half of the tree would be
/// compiled twice. That it needs no more than those is a step of its own in CI.
pub(super) fn everything(checkout: &Checkout) -> Result<Built> {
    println!("test: building posthaste and every test");
    let artifacts = build(checkout, PROFILE, &["--workspace", "--tests", "--bin", "posthaste"])?;
    let tests = artifacts.iter().filter_map(test_program).collect();
    Ok(Built { posthaste: found_program(&artifacts, "posthaste")?, tests })
}

/// Builds the program of a package that is named like it.
pub(super) fn program(checkout: &Checkout, profile: &str, package: &str) -> Result<PathBuf> {
    found_program(&build(checkout, profile, &["--package", package])?, package)
}

fn found_program(artifacts: &[Value], name: &str) -> Result<PathBuf> {
    let built = artifacts.iter().find_map(|artifact| program_of(artifact, name));
    built.with_context(|| format!("cargo built no program {name}"))
}

/// What cargo says of each target it has built.
fn build(checkout: &Checkout, profile: &str, selection: &[&str]) -> Result<Vec<Value>> {
    let mut cargo = checkout.cargo();
    cargo.args(["build", profile, "--message-format=json-render-diagnostics"]).args(selection);
    let lines = output(&mut cargo)?;
    let messages = lines.lines().map(serde_json::from_str::<Value>);
    let messages = messages.collect::<Result<Vec<_>, _>>().context("cargo's messages are not JSON")?;
    Ok(messages.into_iter().filter(|message| message["reason"] == "compiler-artifact").collect())
}

/// The program that users run, not its unit tests, which cargo builds under the same name.
fn program_of(artifact: &Value, name: &str) -> Option<PathBuf> {
    let wanted = artifact["target"]["name"] == name && artifact["profile"]["test"] == false;
    artifact["executable"].as_str().filter(|_| wanted).map(PathBuf::from)
}

fn test_program(artifact: &Value) -> Option<TestProgram> {
    if artifact["profile"]["test"] != true {
        return None;
    }
    let manifest = PathBuf::from(artifact["manifest_path"].as_str()?);
    let folder = manifest.parent()?.to_owned();
    // `path+file:///…/crates/wire#0.1.0`, or `…/tests#posthaste-tests@0.1.0` where folder and name differ.
    let id = artifact["package_id"].as_str()?.rsplit_once('#')?.1;
    let package = match id.split_once('@') {
        Some((name, _version)) => name.to_owned(),
        None => folder.file_name()?.to_str()?.to_owned(),
    };
    let target = artifact["target"]["name"].as_str()?.to_owned();
    let executable = PathBuf::from(artifact["executable"].as_str()?);
    Some(TestProgram::new(package, target, folder, executable))
}
