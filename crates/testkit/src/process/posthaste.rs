//! Posthaste itself, as a user starts it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use serde_json::Value;

use super::child::Process;

/// A running `posthaste`.
#[derive(Debug)]
pub struct Posthaste {
    /// Its signals, output, use of the machine, and end.
    pub process: Process,
}

impl Posthaste {
    /// Starts it with these arguments.
    ///
    /// # Panics
    /// As [`posthaste_program`].
    #[track_caller]
    pub fn run<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Self {
        Self::run_with(arguments, |_| {})
    }

    /// Starts it with these arguments, after `change` had its way with the command: environment, working directory,
    /// [a network namespace](crate::namespace::Namespace::wrap).
    ///
    /// # Panics
    /// As [`posthaste_program`].
    #[track_caller]
    pub fn run_with<A: AsRef<OsStr>>(
        arguments: impl IntoIterator<Item = A>,
        change: impl FnOnce(&mut Command),
    ) -> Self {
        let mut command = Command::new(posthaste_program());
        command.args(arguments);
        // The tests decide what it trusts and how it logs, not whoever runs them.
        for name in ["SSL_CERT_FILE", "SSL_CERT_DIR", "RUST_LOG"] {
            command.env_remove(name);
        }
        change(&mut command);
        Self { process: Process::spawn("posthaste", &mut command) }
    }

    /// The object that `--summary json` wrote to standard output.
    ///
    /// # Panics
    /// When standard output is not one JSON object, with all output.
    #[track_caller]
    pub fn summary(&self) -> Value {
        let text = self.process.stdout();
        match serde_json::from_str(&text) {
            Ok(summary @ Value::Object(_)) => summary,
            Ok(_) => panic!("the summary is no object{}", self.process.output()),
            Err(error) => panic!("no summary: {error}{}", self.process.output()),
        }
    }

    /// Asserts that the ledger of a summary balances: received = finished + requeued + expired + connection lost + left.
    ///
    /// # Panics
    /// When it does not, with the summary.
    #[track_caller]
    pub fn assert_balanced(summary: &Value) {
        let number =
            |name: &str| summary[name].as_u64().unwrap_or_else(|| panic!("no {name} in {summary:#}"));
        let accounted: u64 = ["finished", "requeued", "expired", "connection_lost", "left"]
            .iter()
            .map(|name| number(name))
            .sum();
        assert_eq!(number("received"), accounted, "received is not what became of it: {summary:#}");
    }
}

/// Has the command run with these limits of open files.
pub fn with_descriptors(command: &mut Command, soft: u64, hard: u64) {
    wrap(command, "prlimit", &[&format!("--nofile={soft}:{hard}")]);
}

/// Has the command live on when it writes past its limit of a file's size (`prlimit --fsize`): the write fails, as on a disk that is at its
/// end, instead of a signal that ends it.
pub fn with_failing_writes(command: &mut Command) {
    wrap(command, "sh", &["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
}

/// Has `program`, which takes a command behind its own arguments and becomes it, run the command.
pub(crate) fn wrap(command: &mut Command, program: &str, arguments: &[&str]) {
    let mut wrapped = Command::new(program);
    wrapped.args(arguments).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        wrapped.current_dir(dir);
    }
    *command = wrapped;
}

/// The path of the binary: `POSTHASTE_BIN`, else the one that was built beside the running test, with the same profile.
///
/// # Panics
/// When it is not there or older than its sources: a test of yesterday's program proves nothing.
#[track_caller]
pub fn posthaste_program() -> PathBuf {
    if let Some(path) = std::env::var_os("POSTHASTE_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a running test has a path");
    // target/PROFILE/deps/TEST
    let beside = test.ancestors().nth(2).expect("tests are built in target/PROFILE/deps");
    let path = beside.join("posthaste");
    let built = std::fs::metadata(&path).and_then(|file| file.modified());
    let built = built.unwrap_or_else(|_| panic!("no {}: build posthaste with this profile", path.display()));
    let crates =
        ["wire", "compress", "resolve", "client", "journal", "broker", "delivery", "pipeline", "posthaste"];
    let newest = crates
        .iter()
        .filter_map(|name| newest(&crate::workspace().join("crates").join(name).join("src")))
        .max();
    assert!(
        newest.is_none_or(|newest| newest <= built),
        "{} is stale: build posthaste with this profile",
        path.display()
    );
    path
}

fn newest(dir: &Path) -> Option<SystemTime> {
    let entries = std::fs::read_dir(dir).ok()?.filter_map(Result::ok);
    let times = entries.filter_map(|entry| match entry.file_type().ok()?.is_dir() {
        true => newest(&entry.path()),
        false => entry.metadata().ok()?.modified().ok(),
    });
    times.max()
}
