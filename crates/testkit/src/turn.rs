//! Tests that cannot run, and tests that must run alone.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;

/// Notes that test `name` does not run here, and why, in `target/skipped-tests.txt`, which `cargo xtask test` counts and prints.
/// The caller returns afterwards.
///
/// # Panics
/// When `CI` is set: there everything has to run.
#[track_caller]
pub fn skip(name: &str, reason: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "{name} cannot run here: {reason}");
    eprintln!("skipped: {name}: {reason}");
    let path = target().join("skipped-tests.txt");
    let mut file = OpenOptions::new().create(true).append(true).open(path).expect("target is writable");
    // One write of one line: tests of several processes append to the same file.
    file.write_all(format!("{name}\t{reason}\n").as_bytes()).expect("target is writable");
}

/// A test's turn on the machine. It ends when the value is dropped.
#[derive(Debug)]
pub struct Turn {
    // The lock belongs to the open file and goes with it, whatever ends the process.
    _file: File,
}

/// Waits until no other test holds a turn, and keeps them all waiting: for a test that measures time, CPU or memory of the
/// whole machine. Over threads and processes.
///
/// # Panics
/// When the lock cannot be taken.
pub fn exclusive() -> Turn {
    let file = lock_file();
    file.lock().expect("a lock on a file of ours");
    Turn { _file: file }
}

/// Waits until no test is [`exclusive`], and keeps such tests waiting: for one that would disturb a measurement. Any number of
/// tests hold it together.
///
/// # Panics
/// When the lock cannot be taken.
pub fn shared() -> Turn {
    let file = lock_file();
    file.lock_shared().expect("a lock on a file of ours");
    Turn { _file: file }
}

fn lock_file() -> File {
    let path = target().join("test-turns.lock");
    OpenOptions::new().create(true).append(true).open(path).expect("target is writable")
}

fn target() -> PathBuf {
    let target = crate::workspace().join("target");
    std::fs::create_dir_all(&target).expect("target can be made");
    target
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    #[test]
    fn an_exclusive_turn_waits_for_all_shared_ones() {
        let (first, second) = (shared(), shared());
        let (send, taken) = channel();
        let waiting = std::thread::spawn(move || send.send(exclusive()));
        drop(first);
        assert!(taken.recv_timeout(Duration::from_millis(50)).is_err(), "one shared turn is still held");
        drop(second);
        let turn = taken.recv().expect("the thread took its turn");
        drop(turn);
        waiting.join().expect("the thread is done").expect("the turn was received");
    }
}
