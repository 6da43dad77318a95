//! One build of everything that is tested.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use super::program::TestProgram;
use crate::checkout::{Checkout, output};

pub(super) struct Built {
    /// The program, with the features that its users get.
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

/// Builds all tests, then the program, both with the same profile: the dependencies (a C library among them) are then
/// compiled once.
pub(super) fn everything(checkout: &Checkout) -> Result<Built> {
    println!("test: building every test");
    let artifacts = build(checkout, PROFILE, &["--workspace", "--all-targets"])?;
    let tests = artifacts.iter().filter_map(test_program).collect();
    // The first build has made a `posthaste` too, but with the features that only tests ask of its dependencies (a
    // clock that can be paused, for one). The program under test has those that a user gets, so it is built last.
    println!("test: building posthaste");
    Ok(Built { posthaste: program(checkout, PROFILE, "posthaste")?, tests })
}

/// Builds the program of a package that is named like it.
pub(super) fn program(checkout: &Checkout, profile: &str, package: &str) -> Result<PathBuf> {
    let artifacts = build(checkout, profile, &["--package", package])?;
    let built = artifacts.iter().find_map(|artifact| program_of(artifact, package));
    built.with_context(|| format!("cargo built no program {package}"))
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
