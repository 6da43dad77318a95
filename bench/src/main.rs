//! Posthaste beside its peers, run from the workspace's folder by `cargo xtask bench`: the same messages from the same nsqd to the same nginx over TLS, one peer after the
//! other, round after round, so that what else the machine does falls on all of them.
//!
//! - `options`: what is run
//! - `stage`: nsqd with its messages, nginx, and their counts
//! - `peer`: how each program is started
//! - `measured`: one program's run, and what it cost
//! - `round`: the loop over rounds and peers
//! - `report`: medians, the table, what was aimed at
//! - `machine`: where it ran

#![expect(
    clippy::disallowed_methods,
    reason = "it measures other processes, on a thread of its own, by the wall clock"
)]

mod machine;
mod measured;
mod options;
mod peer;
mod report;
mod round;
mod stage;

use std::process::ExitCode;

use anyhow::Result;
use options::{Options, USAGE};
use report::Report;

/// `EX_USAGE` of sysexits.h.
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let options = match Options::parse(&arguments) {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("bench: {wrong}\n\n{USAGE}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let runs = round::all(options)?;
    let report = Report::new(options, runs);
    println!("\n{}", report.table());
    if let Some(file) = &options.json {
        std::fs::write(file, format!("{:#}\n", report.json()))?;
    }
    if options.write {
        std::fs::write("BENCH.md", report.page())?;
        println!("bench: BENCH.md is written");
    }
    Ok(())
}
