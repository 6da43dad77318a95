//! The real NSQ, so that every claim about the protocol is held against the program that others run.
//!
//! `go install` refuses NSQ because its go.mod has a `replace`; the small module in `tools/nsq` repeats it and pins
//! everything by its go.sum.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::checkout::{self, Checkout, program};

const PROGRAMS: [&str; 9] = [
    "nsqd",
    "nsqlookupd",
    "nsqadmin",
    "nsq_to_http",
    "nsq_tail",
    "nsq_to_file",
    "nsq_to_nsq",
    "nsq_stat",
    "to_nsq",
];

pub(crate) fn run(checkout: &Checkout) -> Result<()> {
    let module = checkout.root.join("tools/nsq");
    let built = checkout.target("nsq");
    let stamp = built.join(".built-from");
    let source = fs::read_to_string(module.join("go.mod"))? + &fs::read_to_string(module.join("go.sum"))?;
    let complete = PROGRAMS.iter().all(|name| built.join(name).is_file());
    if complete && fs::read_to_string(&stamp).is_ok_and(|from| from == source) {
        println!("nsq: target/nsq is up to date");
        return Ok(());
    }
    println!("nsq: building {} into target/nsq (about a minute)", PROGRAMS.join(", "));
    fs::create_dir_all(&built)?;
    let mut go = go(&module)?;
    go.args(["build", "-trimpath", "-o"]).arg(&built);
    go.args(PROGRAMS.map(|name| format!("github.com/nsqio/nsq/apps/{name}")));
    checkout::run(&mut go)?;
    fs::write(stamp, source)?;
    Ok(())
}

/// Go in a module of this repository, whatever the caller's environment says: no workspace file from a folder above,
/// and no cgo, so that no C compiler is asked and the resolver is the same everywhere.
pub(crate) fn go(module: &Path) -> Result<Command> {
    let mut go = Command::new(program("go").context("go is missing; `cargo xtask setup` gets it")?);
    go.current_dir(module).env("GOWORK", "off").env("CGO_ENABLED", "0").stdin(Stdio::null());
    Ok(go)
}
