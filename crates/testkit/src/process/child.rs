//! One child process: its output, its use of the machine, its end.

use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use rustix::process::Signal;
use rustix::process::{Pid, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};

use super::reaper;
use super::usage::Usage;
use crate::board::Board;
use crate::gate::PATIENCE;

/// A running child, killed with its whole process group when dropped.
pub struct Process {
    name: String,
    pid: u32,
    board: Arc<Board<State>>,
}

#[derive(Debug, Default)]
struct State {
    stdout: String,
    stderr: String,
    streams_open: usize,
    peak_rss_bytes: u64,
    exited: Option<Exited>,
}

/// How a child ended and what it had used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exited {
    /// The exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// From its start to its end.
    pub wall: Duration,
    /// User and system time, in ticks of 10 ms.
    pub cpu: Duration,
    /// VmHWM as last seen: what grew in the last 10 ms before the end is not in it.
    pub peak_rss_bytes: u64,
}

/// How often VmHWM is read; it is gone with the process. 10 ms cost some 0.2 % of a core.
const SAMPLE: Duration = Duration::from_millis(10);

impl Process {
    /// Starts `command` with its output captured and its input empty.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn spawn(name: &str, command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let started = Instant::now();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let pid = child.id();
        reaper::enter(pid);
        let board = Arc::new(Board::new(State { streams_open: 2, ..State::default() }));
        collect(child.stdout.take().expect("piped above"), &board, |state| &mut state.stdout);
        collect(child.stderr.take().expect("piped above"), &board, |state| &mut state.stderr);
        let process = Self { name: name.into(), pid, board: board.clone() };
        std::thread::spawn(move || watch(child, started, &board));
        process
    }

    /// Its id, which is also that of its process group.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What it uses now.
    pub fn usage(&self) -> Usage {
        Usage::of(self.pid)
    }

    /// Has it not ended?
    pub fn is_running(&self) -> bool {
        self.board.read(|state| state.exited.is_none())
    }

    /// What it wrote to standard output so far.
    pub fn stdout(&self) -> String {
        self.board.read(|state| state.stdout.clone())
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        self.board.read(|state| state.stderr.clone())
    }

    /// Sends a signal to the process itself. Nothing happens if it has ended.
    pub fn signal(&self, signal: Signal) {
        self.while_running(|pid| kill_process(pid, signal));
    }

    fn signal_group(&self, signal: Signal) {
        self.while_running(|pid| kill_process_group(pid, signal));
    }

    /// Under the lock: the id is not given to anyone else before the watcher has entered the end.
    fn while_running(&self, act: impl FnOnce(Pid) -> rustix::io::Result<()>) {
        self.board.read(|state| {
            if state.exited.is_none()
                && let Some(pid) = Pid::from_raw(self.pid as i32)
            {
                // It may be a zombie already, which is as good.
                act(pid).ok();
            }
        });
    }

    /// SIGKILL to it and all it started, and waits for its end.
    pub fn kill9(&self) -> Exited {
        self.signal_group(Signal::KILL);
        self.wait(PATIENCE)
    }

    /// Waits for its end and the end of its output.
    ///
    /// # Panics
    /// When it still runs after this long, with its output.
    #[track_caller]
    pub fn wait(&self, timeout: Duration) -> Exited {
        self.wait_within(timeout)
            .unwrap_or_else(|| panic!("{self} still runs after {timeout:?}{}", self.output()))
    }

    /// As [`Process::wait`], but nothing instead of a panic.
    pub fn wait_within(&self, timeout: Duration) -> Option<Exited> {
        self.board.wait(timeout, |state| state.exited.filter(|_| state.streams_open == 0))
    }

    /// Waits until its standard error holds `text`.
    ///
    /// # Panics
    /// When it does not within `timeout`, or the process ends first, with its output.
    #[track_caller]
    pub fn wait_stderr(&self, text: &str, timeout: Duration) {
        let found = self.board.wait(timeout, |state| {
            let held = state.stderr.contains(text);
            (held || (state.exited.is_some() && state.streams_open == 0)).then_some(held)
        });
        assert!(found == Some(true), "{self} did not say {text:?} within {timeout:?}{}", self.output());
    }

    /// Both outputs, for a message.
    pub fn output(&self) -> String {
        format!(
            "\n--- standard output\n{}\n--- standard error\n{}",
            tail(&self.stdout()),
            tail(&self.stderr())
        )
    }
}

/// The last lines, enough to see why.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal_group(Signal::KILL);
        // Not for ever: a process in the kernel's hands must not hang the tests. Its end alone, since a grandchild may have
        // left the group with the output open.
        self.board.wait(PATIENCE, |state| state.exited);
    }
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (process {})", self.name, self.pid)
    }
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

fn collect(from: impl Read + Send + 'static, board: &Arc<Board<State>>, into: fn(&mut State) -> &mut String) {
    let board = board.clone();
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
            board.update(|state| into(state).push_str(&String::from_utf8_lossy(&line)));
            line.clear();
        }
        board.update(|state| state.streams_open -= 1);
    });
}

fn watch(mut child: Child, started: Instant, board: &Board<State>) {
    let pid = child.id();
    let peek = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    let id = Pid::from_raw(pid as i32).expect("a child's id is not 0");
    // Sampled rather than awaited: the peak of memory is gone once it has ended. The CPU time stays until it is waited for.
    while matches!(waitid(WaitId::Pid(id), peek), Ok(None)) {
        let peak = Usage::of(pid).peak_rss_bytes;
        board.update(|state| state.peak_rss_bytes = state.peak_rss_bytes.max(peak));
        std::thread::sleep(SAMPLE);
    }
    let wall = started.elapsed();
    let cpu = Usage::of(pid).cpu;
    // What it started may outlive it, and nobody else would end that. The group's id is not free while its leader is a zombie.
    kill_process_group(id, Signal::KILL).ok();
    board.update(|state| {
        let status = child.wait();
        reaper::forget(pid);
        state.exited = Some(Exited {
            code: status.as_ref().ok().and_then(|status| status.code()),
            signal: status.as_ref().ok().and_then(|status| status.signal()),
            wall,
            cpu,
            peak_rss_bytes: state.peak_rss_bytes,
        });
    });
}
