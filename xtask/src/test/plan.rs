//! Which tests run side by side, and which alone.
//!
//! Those that measure time or load the whole machine are modules of the integration tests under [`EXCLUSIVE`], and run last, one
//! at a time. All others mostly wait for something, so a few programs run at once, and a few tests of each.

use std::cmp::Reverse;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result};

use super::Options;
use super::program::TestProgram;
use super::tally::Tally;

/// Tests in a module of this name measure time or load the whole machine, and so run alone.
const EXCLUSIVE: &str = "exclusive::";

/// The integration tests: package and target.
const INTEGRATION: (&str, &str) = ("posthaste-tests", "it");

/// Tests of one program at once; where there are more cores, as many as those. They mostly wait (for a time-out, a restart,
/// an answer), so two cores do for four of them, and not for more: an integration test has up to four processes of its own.
const THREADS_MIN: usize = 4;

/// Programs of the crates' own tests at once, beside the integration tests.
const CRATE_PROGRAMS: usize = 2;

/// A program and the names of its tests that are to run.
type Chosen = (TestProgram, Vec<String>);

pub(super) struct Plan {
    crates: Vec<Chosen>,
    integration: TestProgram,
    together: Vec<String>,
    alone: Vec<String>,
    threads: usize,
}

impl Plan {
    pub(super) fn new(mut programs: Vec<TestProgram>, options: &Options) -> Result<Plan> {
        let integration = programs.iter().position(is_integration);
        let integration = programs.swap_remove(integration.context("the integration tests were not built")?);
        let (alone, together) =
            chosen_names(&integration, options)?.into_iter().partition(|name| name.contains(EXCLUSIVE));
        let mut crates = Vec::new();
        for program in programs {
            let names = chosen_names(&program, options)?;
            crates.push((program, names));
        }
        // So that none of the long ones is left alone at the end.
        crates.sort_by_key(|(_, names)| Reverse(names.len()));
        let threads = thread::available_parallelism().map_or(1, usize::from).max(THREADS_MIN);
        Ok(Plan { crates, integration, together, alone, threads })
    }

    pub(super) fn run_side_by_side(&self) -> Result<Tally> {
        let crates = Mutex::new(self.crates.iter());
        let take_one = || crates.lock().expect("nobody panics with it").next();
        let run_some = || -> Result<Tally> {
            let mut tally = Tally::default();
            while let Some((program, names)) = take_one() {
                if !names.is_empty() {
                    tally.add(program.run_quietly(names, self.threads)?);
                }
            }
            Ok(tally)
        };
        thread::scope(|scope| {
            let runners: Vec<_> = (0..CRATE_PROGRAMS).map(|_| scope.spawn(run_some)).collect();
            let mut tally = run_integration(&self.integration, &self.together, self.threads)?;
            for runner in runners {
                tally.add(runner.join().expect("a runner's panic is the program's")?);
            }
            Ok(tally)
        })
    }

    pub(super) fn run_alone(&self) -> Result<Tally> {
        run_integration(&self.integration, &self.alone, 1)
    }
}

fn run_integration(program: &TestProgram, names: &[String], threads: usize) -> Result<Tally> {
    match names {
        [] => Ok(Tally::default()),
        names => program.run_loudly(names, threads),
    }
}

fn chosen_names(program: &TestProgram, options: &Options) -> Result<Vec<String>> {
    Ok(program.names()?.into_iter().filter(|name| options.takes(name)).collect())
}

fn is_integration(program: &TestProgram) -> bool {
    (program.package.as_str(), program.target.as_str()) == INTEGRATION
}
