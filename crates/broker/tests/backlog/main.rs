//! Large queues on the real disk: memory, disk, and the time of a start.
//!
//! Each test runs in processes of its own, one after the other on one directory, so that each one's memory is its own
//! and the first can end as by kill -9. `POSTHASTE_FULL=1` asks for the large form; the figures are printed.

mod deferred;
mod three_channels;

use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use broker::queue::{Handed, Subscription};
use broker::{Client, Disk, Queue, Settings};
use tokio::task::LocalSet;
use tokio::time::Instant;
use wire::{ChannelName, TopicName};

const PHASE: &str = "BACKLOG_PHASE";
const DIRECTORY: &str = "BACKLOG_DIRECTORY";
const START_MAX: Duration = Duration::from_secs(5);
/// What a process says last when it has done its part, before it is killed or ends.
const DONE: &str = "phase done";

fn is_full() -> bool {
    std::env::var_os("POSTHASTE_FULL").is_some_and(|value| value != "0")
}

fn settings(directory: &str) -> Settings {
    Settings {
        data_path: directory.into(),
        max_msg_timeout: Duration::from_secs(36_000),
        ..Settings::default()
    }
}

/// Resident memory of this process, bytes.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("Linux has it");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number");
    kib * 1024
}

fn subscribe(queue: &Queue, name: &str, id: u64) -> Subscription {
    let client = Client::new(id, "127.0.0.1:1".to_owned(), 0, Duration::from_secs(3_600));
    let (topic, channel) = (TopicName::new("t").expect("valid"), ChannelName::new(name).expect("valid"));
    let mut subscription = queue.subscribe(&topic, &channel, Rc::new(client)).expect("there is room");
    subscription.set_ready(2_500);
    subscription
}

fn take(subscription: &mut Subscription) -> Option<Handed> {
    match subscription.poll_next(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(handed) => handed,
        Poll::Pending => None,
    }
}

/// An open queue in this process.
struct Part {
    phase: String,
    directory: String,
    queue: Queue,
    recovery: broker::queue::Recovery,
    empty: u64,
}

impl Part {
    /// Memory beyond an empty process's.
    fn grown(&self) -> u64 {
        memory().saturating_sub(self.empty)
    }

    fn is(&self, phase: &str) -> bool {
        self.phase == phase
    }

    /// As kill -9.
    fn die(&self) -> ! {
        println!("{DONE}");
        std::process::abort()
    }
}

/// Runs `act` in a process for each phase, all on one directory.
fn in_processes(test: &str, phases: &[&str], act: impl AsyncFnOnce(Part)) {
    if let (Ok(phase), Ok(directory)) = (std::env::var(PHASE), std::env::var(DIRECTORY)) {
        return run(phase, directory, act);
    }
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    for phase in phases {
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        command.args(["--exact", test, "--nocapture"]);
        let output = command.env(PHASE, phase).env(DIRECTORY, directory.path()).output().expect("it runs");
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        print!("{said}");
        assert!(said.contains(DONE), "{phase}: {said}");
    }
}

fn run(phase: String, directory: String, act: impl AsyncFnOnce(Part)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let (empty, began) = (memory(), Instant::now());
        let (queue, recovery) = Queue::open(Arc::new(Disk), &settings(&directory)).expect("it opens");
        let took = began.elapsed();
        println!(
            "{phase}: started in {took:.2?}, {} messages, {} records",
            recovery.messages, recovery.journal.records
        );
        assert!(took < START_MAX, "a start took {took:.2?}");
        tokio::task::spawn_local(queue.clone().run());
        act(Part { phase, directory, queue, recovery, empty }).await;
        println!("{DONE}");
    });
}
