//! Starts on the real disk: who else has it open, and who wrote it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use journal::format::VERSION;
use journal::{Class, Disk, Journal, OpenError, Recovery, Settings};

use crate::rig::{append, checkpoint, commit};

fn open(dir: &Path) -> Result<(Journal, Vec<Vec<u8>>, Recovery), OpenError> {
    let mut replay = Journal::open(Arc::new(Disk), dir, Settings::default())?;
    let mut bodies = Vec::new();
    while let Some((_, body)) = replay.next() {
        bodies.push(body.to_vec());
    }
    replay.finish().map(|(journal, recovery)| (journal, bodies, recovery))
}

#[test]
fn what_was_committed_is_there_at_the_next_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path().join("made/on/the/way");
    for round in 0..3_u8 {
        let (mut journal, bodies, recovery) = open(&dir).expect("a start");
        assert_eq!(bodies, (0..round).map(|earlier| vec![earlier; 100]).collect::<Vec<_>>());
        assert!(recovery.is_clean() && recovery.set_aside.is_empty() && recovery.cut_bytes == 0);
        append(&mut journal, &[round; 100]);
        commit(&mut journal);
    }
    let bytes: u64 = std::fs::read_dir(&dir)
        .expect("the directory")
        .map(|entry| entry.expect("an entry").metadata().expect("its size").len())
        .sum();
    assert!(bytes < 3 * 1200 + 600_000, "{bytes} bytes for three small records");
}

#[test]
fn syncs_run_on_another_thread() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut journal, _, _) = open(dir.path()).expect("a start");
    for round in 0..20_u8 {
        append(&mut journal, &[round; 50_000]);
        let end = journal.end();
        let job = journal.begin_sync().expect("the disk is well").expect("there is something");
        let thread = std::thread::spawn(move || job.run());
        append(&mut journal, b"meanwhile");
        assert!(journal.begin_sync().expect("the disk is well").is_none(), "one at a time");
        let durable = journal.end_sync(thread.join().expect("it ran")).expect("the disk is well");
        assert!(durable >= end && durable < journal.end());
    }
    commit(&mut journal);
}

#[test]
fn a_second_process_is_refused_and_the_lock_goes_with_a_killed_one() {
    const DIR: &str = "JOURNAL_TEST_SECOND_PROCESS";
    if let Some(dir) = std::env::var_os(DIR) {
        // This is the second process: it answers by how it ends, or holds on until it is killed.
        let journal = open(Path::new(&dir));
        if matches!(journal, Err(OpenError::InUse { .. })) {
            panic!("in use");
        }
        println!("open");
        std::io::stdin().read_line(&mut String::new()).expect("held until then");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let second = || {
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        command.args([
            "--exact",
            "start::a_second_process_is_refused_and_the_lock_goes_with_a_killed_one",
            "--nocapture",
        ]);
        command.env(DIR, dir.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().expect("a second process")
    };
    let first = open(dir.path()).expect("a start");
    assert!(!second().wait().expect("it ends").success(), "it is in use");
    drop(first);

    let mut second = second();
    let mut said = std::io::BufReader::new(second.stdout.take().expect("its output"));
    let mut line = String::new();
    while !line.ends_with("open\n") {
        assert_ne!(
            std::io::BufRead::read_line(&mut said, &mut line).expect("its words"),
            0,
            "it opened: {line}"
        );
    }
    assert!(matches!(open(dir.path()), Err(OpenError::InUse { dir: named }) if named == dir.path()));
    second.kill().expect("it runs");
    second.wait().expect("it ends");
    open(dir.path()).expect("its lock went with it");
}

/// What a later version would write: the first 16 bytes as they are today, the rest as it likes.
fn make_newer(path: &Path) {
    let mut bytes = std::fs::read(path).expect("the file");
    for at in [0, 512] {
        if bytes.get(at..at + 4) != Some(b"jrnl") {
            continue;
        }
        bytes[at + 8..at + 12].copy_from_slice(&(VERSION + 1).to_le_bytes());
        let sum = crc32c::crc32c(&bytes[at..at + 12]);
        bytes[at + 12..at + 16].copy_from_slice(&sum.to_le_bytes());
        bytes[at + 16..at + 40].fill(0xee);
    }
    std::fs::write(path, bytes).expect("the file");
}

#[test]
fn a_newer_version_is_refused_and_nothing_is_touched() {
    for newer in ["00000001.segment", "00000001.checkpoint"] {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut journal, _, _) = open(dir.path()).expect("a start");
        append(&mut journal, b"one");
        checkpoint(&mut journal, b"state");
        drop(journal);
        let file = dir.path().join(newer);
        make_newer(&file);
        std::fs::write(dir.path().join("00000002.checkpoint"), b"damaged").expect("another file");
        let listing = || {
            let mut names: Vec<_> = std::fs::read_dir(dir.path())
                .expect("the directory")
                .map(|entry| entry.expect("an entry").file_name())
                .collect();
            names.sort();
            names
        };
        let before = listing();
        let error = open(dir.path()).expect_err("it is newer");
        assert!(
            matches!(&error, OpenError::NewerVersion { file: named, found, known } if *named == file && *found == VERSION + 1 && *known == VERSION),
            "{error}"
        );
        assert!(error.to_string().contains(newer), "{error}");
        assert_eq!(listing(), before);
    }
}

#[test]
fn a_sealed_segment_gives_back_what_was_allocated_ahead() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut journal, _, _) = open(dir.path()).expect("a start");
    let body = vec![5; 100_000];
    let mut payload = 0;
    while journal.segments().count() < 4 {
        payload += body.len() as u64;
        journal.append(&[&body], Class::Ordinary).expect("there is space");
    }
    commit(&mut journal);
    let files = std::fs::read_dir(dir.path()).expect("the directory");
    let bytes: u64 = files.map(|entry| entry.expect("an entry").metadata().expect("its size").len()).sum();
    assert!(bytes * 10 <= payload * 11, "{bytes} bytes on disk for {payload}");
}
