//! Every test of the repository, in one count.
//!
//! - `build`: one build of everything, and the list of test programs that came out of it
//! - `plan`: which tests run side by side, and which alone
//! - `program`: one test program: what it would run, and running it
//! - `tally`: passed, failed, skipped
//!
//! The test programs are started from here rather than through `cargo test -p ...`: cargo chooses the features of the
//! dependencies by the packages selected, so that each selection would compile the async runtime anew.

mod build;
mod plan;
mod program;
mod tally;

pub(crate) use tally::Tally;

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::checkout::Checkout;
use crate::{nsq, peers, setup, tidy};
use plan::Plan;
use program::TestProgram;

pub(crate) struct Options {
    full: bool,
    filter: Option<String>,
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Result<Options, String> {
        let mut options = Options { full: false, filter: None };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--full" => options.full = true,
                "--filter" => {
                    options.filter = Some(rest.next().ok_or("--filter needs a part of a name")?.clone())
                }
                other => return Err(format!("test has no `{other}`")),
            }
        }
        Ok(options)
    }

    fn takes(&self, test: &str) -> bool {
        self.filter.as_ref().is_none_or(|part| test.contains(part.as_str()))
    }
}

/// Success when everything passed. Whatever came of it, the last line is the count.
pub(crate) fn run(checkout: &Checkout, options: &Options) -> Result<ExitCode> {
    let started = Instant::now();
    setup::run()?;
    nsq::run(checkout)?;
    peers::run(checkout)?;
    let mut tally = Tally::default();
    if options.filter.is_none() {
        tally.add(tidy::tally(checkout)?);
    }
    let mut built = build::everything(checkout)?.with_env(&environment(checkout));
    if options.full {
        built.tests.iter_mut().for_each(TestProgram::take_long_variants);
    }
    say_since(started, "everything is built");

    let skipped_file = checkout.target("skipped-tests.txt");
    fs::write(&skipped_file, "").context("cannot empty target/skipped-tests.txt")?;
    if options.filter.is_none() {
        tally.add(program::doc_tests(checkout)?);
    }
    let plan = Plan::new(built.tests, options)?;
    tally.add(plan.run_side_by_side()?);
    say_since(started, "what can run side by side is done");
    tally.add(plan.run_alone()?);
    say_since(started, "what needs the machine for itself is done");

    tally.add_skipped(&fs::read_to_string(&skipped_file)?);
    Ok(close(&tally))
}

/// Where the tests find the real NSQ and other people's libraries.
fn environment(checkout: &Checkout) -> [(&'static str, OsString); 2] {
    [
        ("POSTHASTE_NSQ_DIR", checkout.target("nsq").into_os_string()),
        ("POSTHASTE_PEERS_DIR", checkout.target("peers").into_os_string()),
    ]
}

fn say_since(started: Instant, what: &str) {
    println!("test: {what} ({} s since the start)", started.elapsed().as_secs());
}

/// Builds one program as its users do.
pub(crate) fn released_program(checkout: &Checkout, package: &str) -> Result<PathBuf> {
    build::program(checkout, build::RELEASE, package)
}

/// Builds one program as the tests are built.
pub(crate) fn checked_program(checkout: &Checkout, package: &str) -> Result<PathBuf> {
    build::program(checkout, build::PROFILE, package)
}

/// Names what failed and what was skipped, then the counts, which nothing follows.
fn close(tally: &Tally) -> ExitCode {
    for failed in &tally.failed {
        println!("failed: {failed}");
    }
    for skipped in &tally.skipped {
        println!("skipped: {skipped}");
    }
    // A machine that cannot run a test says so and goes on; CI's machine must be able to run them all.
    let skips_count = std::env::var("CI").is_ok_and(|value| value == "true") && !tally.skipped.is_empty();
    if skips_count {
        println!("in CI a skipped test counts as failed");
    }
    if tally.count() == 0 {
        println!("no test has such a name");
    }
    println!("{}", tally.closing_line());
    match tally.passed > 0 && tally.failed.is_empty() && !skips_count {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
