//! One program's run, and what it cost.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use testkit::process::{Process, Signal};

/// A run that takes longer does not move: 20,000 messages take nsq_to_http ten seconds on an idle machine.
const RUN_MAX: Duration = Duration::from_secs(600);

/// How often the queue is asked whether it is empty: a hundredth of a run at the highest rate, and little work for nsqd.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// From SIGTERM to the end of the process.
const STOP_MAX: Duration = Duration::from_secs(60);

/// What one process cost from its start to its end.
pub(crate) struct Cost {
    /// From its start until the work was done.
    pub(crate) wall: Duration,
    /// User and system time of all its threads, start and stop included, in ticks of 10 ms.
    pub(crate) cpu: Duration,
    pub(crate) peak_rss_bytes: u64,
    pub(crate) stdout: String,
}

/// Runs a program until `done` says so, or until it ends by itself, then asks it to stop.
pub(crate) fn run(name: &str, mut command: Command, mut done: impl FnMut() -> bool) -> Result<Cost> {
    let started = Instant::now();
    let process = Process::spawn(name, &mut command);
    while process.is_running() && !done() {
        ensure!(started.elapsed() < RUN_MAX, "not done after {} s{}", RUN_MAX.as_secs(), process.output());
        thread::sleep(LOOK_EVERY);
    }
    let wall = started.elapsed();
    process.signal(Signal::TERM);
    let exited = process.wait(STOP_MAX);
    ensure!(exited.code == Some(0), "it ended with {exited:?}{}", process.output());
    Ok(Cost { wall, cpu: exited.cpu, peak_rss_bytes: exited.peak_rss_bytes, stdout: process.stdout() })
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::run;

    #[test]
    fn a_program_that_ends_by_itself_is_done() {
        let mut burn = Command::new("sh");
        burn.args(["-c", "i=0; while [ $i -lt 500000 ]; do i=$((i+1)); done; echo done"]);
        let cost = run("sh", burn, || false).expect("sh counts to its end");
        assert_eq!(cost.stdout, "done\n");
        assert!(cost.cpu >= Duration::from_millis(20) && cost.peak_rss_bytes > 100_000);
    }

    #[test]
    fn a_program_that_fails_is_an_error_with_its_last_words() {
        let mut failing = Command::new("sh");
        failing.args(["-c", "echo no queue >&2; exit 3"]);
        let error = run("sh", failing, || false).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("no queue") && error.contains('3'), "{error}");
    }
}
