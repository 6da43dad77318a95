//! Other people's NSQ libraries, go-nsq, pynsq and nsqjs, each with a producer and a consumer of ours, so that the embedded
//! queue is held against what others run.
//!
//! All three are pinned in `tools/peers` and installed into `target/peers`; nothing of the system's Python or Node changes.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::checkout::{self, Checkout, program};
use crate::nsq;
use crate::setup::PYTHON;

/// What they are made from: a change of any of it makes them anew.
const SOURCES: [&str; 8] = [
    "go/go.mod",
    "go/go.sum",
    "go/main.go",
    "go/drain.go",
    "python/requirements.txt",
    "node/package.json",
    "node/package-lock.json",
    "node/peer.js",
];

pub(crate) fn run(checkout: &Checkout) -> Result<()> {
    let (sources, built) = (checkout.root.join("tools/peers"), checkout.target("peers"));
    let stamp = built.join(".built-from");
    let texts = SOURCES.iter().map(|source| fs::read_to_string(sources.join(source)));
    let source = texts.collect::<Result<Vec<_>, _>>()?.concat();
    if fs::read_to_string(&stamp).is_ok_and(|from| from == source) {
        println!("peers: target/peers is up to date");
        return Ok(());
    }
    println!("peers: getting go-nsq, pynsq and nsqjs into target/peers");
    fs::create_dir_all(&built)?;
    go(&sources.join("go"), &built.join("go"))?;
    python(&sources.join("python"), &built.join("python"))?;
    node(&sources.join("node"), &built.join("node"))?;
    fs::write(stamp, source)?;
    Ok(())
}

fn go(source: &Path, built: &Path) -> Result<()> {
    fs::create_dir_all(built)?;
    let mut go = nsq::go(source)?;
    checkout::run(go.args(["build", "-trimpath", "-o"]).arg(built.join("peer")))
}

fn python(source: &Path, built: &Path) -> Result<()> {
    checkout::run(Command::new(PYTHON).args(["-m", "venv", "--clear"]).arg(built))?;
    let mut pip = Command::new(built.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
    checkout::run(pip.arg(source.join("requirements.txt")).stdin(Stdio::null()))
}

/// Node finds its packages beside the file that asks for them, so that comes along.
fn node(source: &Path, built: &Path) -> Result<()> {
    fs::create_dir_all(built)?;
    for file in ["package.json", "package-lock.json", "peer.js"] {
        fs::copy(source.join(file), built.join(file)).with_context(|| format!("cannot copy {file}"))?;
    }
    let mut npm = Command::new(program("npm").context("npm is missing; `cargo xtask setup` gets it")?);
    npm.args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(built).stdin(Stdio::null());
    checkout::run(&mut npm)
}
