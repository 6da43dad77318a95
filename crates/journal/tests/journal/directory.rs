//! The directory's own name, when the power goes.

use std::path::Path;
use std::sync::Arc;

use journal::file_system::FileSystem as _;
use journal::simulated::Simulated;
use journal::{Journal, OpenError, Settings};

use crate::rig::{append, commit};

fn open(disk: &Simulated, dir: &Path) -> Result<(Journal, u64), OpenError> {
    let replay = Journal::open(Arc::new(disk.clone()), dir, Settings::default())?;
    replay.finish().map(|(journal, recovery)| (journal, recovery.records))
}

/// Commits one record; how many there are after a crash.
fn kept_through_a_crash(disk: &Simulated, dir: &Path) -> u64 {
    let (mut journal, _) = open(disk, dir).expect("a start");
    append(&mut journal, b"kept");
    commit(&mut journal);
    drop(journal);
    open(&disk.crash(), dir).expect("a start").1
}

#[test]
fn a_directory_that_a_start_made_is_not_lost_with_what_was_committed_in_it() {
    let dir = Path::new("/var/lib/queue");
    for seed in 0..20 {
        let disk = Simulated::new(seed);
        assert_eq!(kept_through_a_crash(&disk, dir), 1, "seed {seed}");
    }
}

#[test]
fn nor_is_one_that_a_killed_start_had_just_made() {
    let dir = Path::new("/queue");
    for seed in 0..20 {
        let disk = Simulated::new(seed);
        disk.create_dir(dir).expect("it is not there yet");
        let disk = disk.kill();
        assert_eq!(kept_through_a_crash(&disk, dir), 1, "seed {seed}");
    }
}

#[test]
fn a_directory_whose_parent_was_not_synced_may_be_lost() {
    let lost = (0..20).filter(|seed| {
        let disk = Simulated::new(*seed);
        disk.create_dir(Path::new("/a")).expect("the root is there");
        disk.create_dir(Path::new("/a/b")).expect("it was just made");
        disk.sync_dir(Path::new("/a")).expect("the disk is well");
        let disk = disk.crash();
        assert!(disk.is_dir(Path::new("/a")) || !disk.is_dir(Path::new("/a/b")), "seed {seed}");
        !disk.is_dir(Path::new("/a"))
    });
    assert!((1..20).contains(&lost.count()), "some seeds lose it, and some do not");
    let disk = Simulated::new(1);
    assert!(
        disk.create(Path::new("/nowhere/file")).is_err() && disk.create_dir(Path::new("/no/where")).is_err()
    );
}
