//! A real file system of 64 MiB that fills: ext4 on a loop device, else tmpfs, in a mount namespace of its own.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use journal::{AppendError, Class, Disk, Journal, Settings};

use crate::rig::{append, commit};

const MOUNTED: &str = "JOURNAL_TEST_SMALL_DISK";

const NAME: &str = "a_disk_that_fills_refuses_loses_nothing_and_takes_records_again";

/// How the script ends when it cannot mount.
const NOTHING_TO_MOUNT: i32 = 77;

const MOUNT: &str = r#"
cd "$1" && mkdir disk && shift
if truncate -s 64M image && mkfs.ext4 -q image && mount -o loop image disk; then :; else mount -t tmpfs -o size=64M none disk || exit 77; fi
df -T disk | tail -1
exec "$@"
"#;

#[test]
fn a_disk_that_fills_refuses_loses_nothing_and_takes_records_again() {
    if let Some(dir) = std::env::var_os(MOUNTED) {
        return fill_and_resume(&Path::new(&dir).join("disk"));
    }
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", MOUNT, "sh"])
        .arg(dir.path())
        .arg(std::env::current_exe().expect("this test"));
    command.args(["--exact", &format!("small_disk::{NAME}")]);
    let output = command.arg("--nocapture").env(MOUNTED, dir.path()).output();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let output = match output {
        Ok(output) => output,
        Err(error) => return testkit::skip(NAME, &format!("no unshare: {error}")),
    };
    let said = text(&output.stderr);
    match output.status.code() {
        Some(0) => println!("{}", text(&output.stdout)),
        Some(NOTHING_TO_MOUNT) => {
            testkit::skip(NAME, &format!("nothing can be mounted: {}", said.replace('\n', " ")))
        }
        // It says so itself; the program that it would have run was never there.
        Some(1) if said.starts_with("unshare: ") => testkit::skip(NAME, said.trim_end()),
        _ => panic!("{}: {}{said}", output.status, text(&output.stdout)),
    }
}

fn fill_and_resume(mount: &Path) {
    let dir = mount.join("journal");
    let mut journal = open(&dir, &mut |_| ());
    let body = vec![0x5a; 10_000];
    let mut taken = Vec::new();
    let refused = loop {
        match journal.append(&[&body], Class::Ordinary) {
            Ok(at) => taken.push((at, body.as_slice())),
            Err(error) => break error,
        }
        if taken.len() % 50 == 0 {
            commit(&mut journal);
            journal.space();
        }
    };
    assert!(matches!(refused, AppendError::Full { .. }), "{refused}");
    assert!(taken.len() * 10_000 > 35 << 20, "{} records of 10,000 bytes", taken.len());
    commit(&mut journal);

    // Somebody else takes what the journal had left, reserve and all.
    let filler = mount.join("filler");
    std::fs::write(&filler, vec![1; 64 << 20]).expect_err("more than there is");
    journal.space();
    for _ in 0..100 {
        let at = journal.append(&[b"finished"], Class::Reserved).expect("there is room kept for it");
        taken.push((at, b"finished"));
        assert!(journal.append(&[&body], Class::Ordinary).is_err());
    }
    commit(&mut journal);

    std::fs::remove_file(&filler).expect("it is there");
    journal.retire(1).expect("it is sealed");
    for _ in 0..2 {
        let job = journal.begin_checkpoint(b"without segment 1".to_vec()).expect("none is under way");
        journal.end_checkpoint(job.run()).expect("there is space again");
    }
    assert!(!journal.space().full);
    taken.push((append(&mut journal, b"resumed"), b"resumed"));
    commit(&mut journal);
    let end = journal.end();
    drop(journal);
    let mut bodies = Vec::new();
    let journal = open(&dir, &mut |body| bodies.push(body.to_vec()));
    assert_eq!((bodies, journal.end()), (vec![b"resumed".to_vec()], end));
    for (at, body) in taken {
        match journal.read(at) {
            Ok(read) => assert!(at.segment > 1 && read == body, "{at}"),
            Err(error) => assert!(at.segment == 1, "{error}"),
        }
    }
}

fn open(dir: &Path, each: &mut dyn FnMut(&[u8])) -> Journal {
    let mut replay = Journal::open(Arc::new(Disk), dir, Settings::default()).expect("a start");
    while let Some((_, body)) = replay.next() {
        each(&body);
    }
    replay.finish().expect("what was read is synced").0
}
