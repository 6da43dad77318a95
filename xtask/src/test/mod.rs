//! Every test of the repository, in one count.
//!
//! - `build`: one build of everything, and the list of test programs that came out of it
//! - `program`: one test program: what it would run, and running it
//! - `tally`: passed, failed, skipped
//!
//! The test programs are started from here rather than through `cargo test -p ...`: cargo chooses the features of the
//! dependencies by the packages selected, so that each selection would compile the async runtime anew.

mod build;
mod program;
mod tally;

pub(crate) use tally::Tally;

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::checkout::Checkout;
use crate::{nsq, peers, setup, tidy};
use build::Built;
use program::TestProgram;

/// Tests in a module of this name measure time, memory or the whole machine, and so run alone.
const EXCLUSIVE: &str = "exclusive::";

/// The integration tests: package and target.
const INTEGRATION: (&str, &str) = ("posthaste-tests", "it");

/// Integration tests at once. They mostly wait (for a time-out, a restart, an answer), so there are more than cores;
/// each has up to four processes of its own, so there are not many more.
const INTEGRATION_THREADS: usize = 4;

/// Programs of the crates' own tests at once. They mostly wait, too, and each runs as many tests at once as there are cores.
const CRATE_PROGRAMS: usize = 2;

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
    let built = build::everything(checkout)?.with_env(&environment(checkout, options));
    say_since(started, "everything is built");

    let skipped_file = checkout.target("skipped-tests.txt");
    fs::write(&skipped_file, "").context("cannot empty target/skipped-tests.txt")?;
    run_crate_tests(&built, options, &mut tally)?;
    if options.filter.is_none() {
        tally.add(program::doc_tests(checkout)?);
    }
    say_since(started, "the crates' own tests are done");
    run_integration_tests(&built, options, &mut tally)?;
    say_since(started, "the integration tests are done");

    tally.add_skipped(&fs::read_to_string(&skipped_file)?);
    Ok(close(&tally))
}

/// Where the tests find the real NSQ, and whether they take their long variants.
fn environment(checkout: &Checkout, options: &Options) -> Vec<(&'static str, OsString)> {
    let mut environment = vec![
        ("POSTHASTE_NSQ_DIR", checkout.target("nsq").into_os_string()),
        ("POSTHASTE_PEERS_DIR", checkout.target("peers").into_os_string()),
    ];
    if options.full {
        environment.push(("POSTHASTE_FULL", "1".into()));
    }
    environment
}

fn run_crate_tests(built: &Built, options: &Options, tally: &mut Tally) -> Result<()> {
    let programs = Mutex::new(built.tests.iter().filter(|program| !is_integration(program)));
    let take_one = || programs.lock().expect("nobody panics with it").next();
    let run_some = || -> Result<Tally> {
        let mut tally = Tally::default();
        while let Some(program) = take_one() {
            let names: Vec<String> =
                program.names()?.into_iter().filter(|name| options.takes(name)).collect();
            if !names.is_empty() {
                tally.add(program.run_quietly(&names)?);
            }
        }
        Ok(tally)
    };
    thread::scope(|scope| {
        let runners: Vec<_> = (0..CRATE_PROGRAMS).map(|_| scope.spawn(run_some)).collect();
        for runner in runners {
            tally.add(runner.join().expect("a runner's panic is the program's")?);
        }
        Ok(())
    })
}

/// First side by side, then those that need the machine for themselves, one at a time.
fn run_integration_tests(built: &Built, options: &Options, tally: &mut Tally) -> Result<()> {
    let found = built.tests.iter().find(|program| is_integration(program));
    let integration = found.context("the integration tests were not built")?;
    let names = integration.names()?.into_iter().filter(|name| options.takes(name));
    let (alone, together): (Vec<String>, Vec<String>) = names.partition(|name| name.contains(EXCLUSIVE));
    if !together.is_empty() {
        tally.add(integration.run_loudly(&together, INTEGRATION_THREADS)?);
    }
    if !alone.is_empty() {
        tally.add(integration.run_loudly(&alone, 1)?);
    }
    Ok(())
}

fn is_integration(program: &TestProgram) -> bool {
    (program.package.as_str(), program.target.as_str()) == INTEGRATION
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
