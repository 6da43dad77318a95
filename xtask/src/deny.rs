//! Licences, bans and sources of the dependencies, by cargo-deny. Advisories are left to a person with a network (see
//! CONTRIBUTING.md): their database is fetched anew each time, and a build that is green today must be so tomorrow.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::checkout::{self, Checkout, program};

/// Pinned, so that a release of the tool does not turn a build red.
const VERSION: &str = "0.20.2";

pub(crate) fn run(checkout: &Checkout) -> Result<()> {
    let mut deny = Command::new(found_or_installed(checkout)?);
    deny.current_dir(&checkout.root).args(["--all-features", "check", "bans", "licenses", "sources"]);
    checkout::run(&mut deny)
}

fn found_or_installed(checkout: &Checkout) -> Result<PathBuf> {
    let tools = checkout.target("tools");
    let installed = tools.join("bin/cargo-deny");
    if let Some(found) = program("cargo-deny") {
        return Ok(found);
    }
    if !installed.is_file() {
        println!("deny: cargo-deny is missing: building it into target/tools (some minutes, once)");
        let mut install = checkout.cargo();
        install.args(["install", "cargo-deny", "--locked", "--version", VERSION, "--root"]).arg(&tools);
        checkout::run(&mut install)?;
    }
    Ok(installed)
}
