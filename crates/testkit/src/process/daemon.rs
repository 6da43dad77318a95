//! A server program that can be stopped, killed and started again with the same ports and files.

use std::process::Command;
use std::time::{Duration, Instant};

use super::child::{Process, Signal};
use crate::gate::PATIENCE;

/// A daemon, running or not.
pub struct Daemon {
    name: &'static str,
    command: Box<dyn Fn() -> Command + Send + Sync>,
    ready: Box<dyn Fn() -> bool + Send + Sync>,
    process: Option<Process>,
    earlier_log: String,
}

impl Daemon {
    /// A daemon that does not run yet: `command` starts it, `ready` says whether it serves.
    pub(super) fn new(
        name: &'static str,
        command: impl Fn() -> Command + Send + Sync + 'static,
        ready: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            command: Box::new(command),
            ready: Box::new(ready),
            process: None,
            earlier_log: String::new(),
        }
    }

    /// Starts it and waits until it serves.
    ///
    /// # Panics
    /// When it runs already, or does not serve within 20 s, with its log.
    #[track_caller]
    pub fn start(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        let process = Process::spawn(self.name, &mut (self.command)());
        let begun = Instant::now();
        while !(self.ready)() {
            let alive = process.is_running() && begun.elapsed() < PATIENCE;
            assert!(alive, "{process} does not serve{}", process.output());
            std::thread::sleep(Duration::from_millis(5));
        }
        self.process = Some(process);
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Panics
    /// When it does not run, or not end within 20 s.
    #[track_caller]
    pub fn stop(&mut self) {
        self.process().signal(Signal::TERM);
        self.process().wait(PATIENCE);
        self.end();
    }

    /// SIGKILL: what it did not write is lost.
    ///
    /// # Panics
    /// When it does not run.
    #[track_caller]
    pub fn kill9(&mut self) {
        self.process().kill9();
        self.end();
    }

    fn end(&mut self) {
        if let Some(process) = self.process.take() {
            self.earlier_log.push_str(&process.stderr());
        }
    }

    /// SIGSTOP: its sockets stay open, the kernel goes on answering for it. Returns when every thread has stopped.
    ///
    /// # Panics
    /// When it does not run, or not stop within 20 s.
    #[track_caller]
    pub fn freeze(&self) {
        self.process().signal(Signal::STOP);
        // The signal takes its time; what the test does next must meet a frozen daemon.
        let begun = Instant::now();
        while !all_stopped(self.process().pid()) {
            assert!(begun.elapsed() < PATIENCE, "{} does not stop", self.process());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// SIGCONT.
    ///
    /// # Panics
    /// When it does not run.
    #[track_caller]
    pub fn thaw(&self) {
        self.process().signal(Signal::CONT);
    }

    /// Does it run?
    pub fn is_running(&self) -> bool {
        self.process.as_ref().is_some_and(Process::is_running)
    }

    /// The running process.
    ///
    /// # Panics
    /// When it does not run.
    #[track_caller]
    pub fn process(&self) -> &Process {
        self.process.as_ref().unwrap_or_else(|| panic!("{} does not run", self.name))
    }

    /// All it wrote to standard error, over all its lives.
    pub fn log(&self) -> String {
        let now = self.process.as_ref().map(Process::stderr).unwrap_or_default();
        format!("{}{now}", self.earlier_log)
    }
}

impl std::fmt::Debug for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Daemon").field("name", &self.name).field("process", &self.process).finish()
    }
}

fn all_stopped(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().filter_map(Result::ok);
    let stats = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
    // The state is the field behind the name in parentheses: T for stopped.
    stats.into_iter().all(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
}
