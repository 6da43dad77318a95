//! One test program: what it would run, and running it.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::build::PROFILE;
use super::tally::Tally;
use crate::checkout::{Checkout, output, shown};

/// A program that writes nothing for so long hangs: the longest single tests take about a minute.
const SILENCE_MAX: Duration = Duration::from_secs(600);

/// The same for the long variants: ten minutes, as some that only compute run beside each other.
const LONG_SILENCE_MAX: Duration = Duration::from_secs(1_200);

/// Lines between the reading thread and the one that counts.
const LINES_AHEAD: usize = 1024;

/// A test program as cargo has built it.
pub(crate) struct TestProgram {
    pub(crate) package: String,
    pub(crate) target: String,
    /// The package's folder: tests find their corpora from it, as under `cargo test`.
    folder: PathBuf,
    executable: PathBuf,
    env: Vec<(&'static str, OsString)>,
    silence_max: Duration,
}

impl TestProgram {
    pub(crate) fn new(package: String, target: String, folder: PathBuf, executable: PathBuf) -> TestProgram {
        let env = vec![("CARGO_MANIFEST_DIR", folder.clone().into_os_string())];
        TestProgram { package, target, folder, executable, env, silence_max: SILENCE_MAX }
    }

    pub(crate) fn env(&mut self, name: &'static str, value: impl Into<OsString>) {
        self.env.push((name, value.into()));
    }

    pub(crate) fn take_long_variants(&mut self) {
        self.env("POSTHASTE_FULL", "1");
        self.silence_max = LONG_SILENCE_MAX;
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        command.current_dir(&self.folder).envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    /// The names of its tests. Asked first, because libtest's filters cannot say "this and not that", and because a
    /// program that dies half-way must not make its remaining tests vanish from the count.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let listed = output(self.command().args(["--list", "--format=terse"]))?;
        Ok(listed.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
    }

    /// Shows its output only when something failed.
    pub(crate) fn run_quietly(&self, names: &[String], threads: usize) -> Result<Tally> {
        let started = Instant::now();
        let command = self.run_of(names, threads);
        let mut lines = Vec::new();
        let tally = self.run(command, names.len(), |line| lines.push(line.to_owned()))?;
        if !tally.failed.is_empty() {
            // In one piece: others write beside it.
            println!("{}", lines.join("\n"));
        }
        let seconds = started.elapsed().as_secs_f64();
        println!("test: {} {}: {} ({seconds:.1} s)", self.package, self.target, tally.closing_line());
        Ok(tally)
    }

    /// Shows each line as it comes, with the seconds since the program's start.
    pub(crate) fn run_loudly(&self, names: &[String], threads: usize) -> Result<Tally> {
        let started = Instant::now();
        println!("test: {}: {} tests, {threads} at once", self.package, names.len());
        self.run(self.run_of(names, threads), names.len(), |line| {
            println!("[{:>4} s] {line}", started.elapsed().as_secs())
        })
    }

    fn run_of(&self, names: &[String], threads: usize) -> Command {
        let mut command = self.command();
        command.arg(format!("--test-threads={threads}")).arg("--exact").args(names);
        command
    }

    fn run(&self, mut command: Command, planned: usize, show: impl FnMut(&str)) -> Result<Tally> {
        let mut child = command.spawn().with_context(|| format!("cannot start {}", shown(&command)))?;
        let mut tally = read_tally(&mut child, self.silence_max, show)?;
        let status = child.wait()?;
        let unaccounted = planned.saturating_sub(tally.count());
        for failed in &mut tally.failed {
            *failed = format!("{} {failed}", self.package);
        }
        if unaccounted > 0 || (!status.success() && tally.failed.is_empty()) {
            let lost =
                format!("{} {}: {status} with {unaccounted} tests not reported", self.package, self.target);
            tally.failed.push(lost);
        }
        Ok(tally)
    }
}

/// The examples in the crates' documentation. rustdoc compiles and runs them itself, so this one goes through cargo,
/// with the same packages selected as in the build.
pub(crate) fn doc_tests(checkout: &Checkout) -> Result<Tally> {
    let mut cargo = checkout.cargo();
    cargo.args(["test", PROFILE, "--workspace", "--doc", "--quiet", "--", "--format=pretty"]);
    let mut child = cargo.stdout(Stdio::piped()).spawn().context("cannot start cargo test --doc")?;
    let mut lines = Vec::new();
    let mut tally = read_tally(&mut child, SILENCE_MAX, |line| lines.push(line.to_owned()))?;
    if !child.wait()?.success() {
        lines.iter().for_each(|line| println!("{line}"));
        if tally.failed.is_empty() {
            tally.failed.push("the examples in the documentation".to_owned());
        }
    }
    println!("test: examples in the documentation: {}", tally.closing_line());
    Ok(tally)
}

/// Reads a child's lines to the end, or ends a child that has gone silent.
fn read_tally(child: &mut Child, silence_max: Duration, mut show: impl FnMut(&str)) -> Result<Tally> {
    let stdout = child.stdout.take().expect("the child was started with a pipe");
    let lines = read_lines(stdout);
    let mut tally = Tally::default();
    loop {
        match lines.recv_timeout(silence_max) {
            Ok(line) if line.is_empty() => {}
            Ok(line) => {
                tally.read_line(&line);
                show(&line);
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(tally),
            Err(RecvTimeoutError::Timeout) => {
                show(&format!("no output for {} s: ended", silence_max.as_secs()));
                child.kill()?;
                return Ok(tally);
            }
        }
    }
}

/// A thread reads, because a pipe's read has no deadline.
fn read_lines(stdout: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = sync_channel(LINES_AHEAD);
    thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    receiver
}
