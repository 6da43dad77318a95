//! Checkpoints, and the segments that they free.

use journal::simulated::{Fail, Simulated};
use journal::{CheckpointError, Position, ReadError, RetireError};

use crate::rig::{append, checkpoint, commit, dir, open, segment};

/// Enough for `segments` sealed segments and a little.
fn fill(journal: &mut journal::Journal, segments: u32) -> Vec<Position> {
    (0..segments * 63 + 2).map(|serial| append(journal, &[serial as u8; 1024])).collect()
}

#[test]
fn a_start_gives_back_the_newest_state_and_what_lies_behind_it() {
    let disk = Simulated::new(1);
    let mut journal = open(&disk).journal;
    fill(&mut journal, 2);
    checkpoint(&mut journal, b"state");
    assert_eq!(journal.bytes_since_checkpoint(), 0);
    append(&mut journal, b"behind");
    assert_eq!(journal.bytes_since_checkpoint(), 18);
    commit(&mut journal);
    drop(journal);
    let opened = open(&disk.crash());
    assert_eq!(opened.state.as_deref(), Some(&b"state"[..]));
    assert_eq!(opened.bodies(), [b"behind"]);
    assert_eq!(opened.recovery.segments, 1, "sealed segments before the checkpoint are not read");
    assert_eq!(opened.journal.bytes_since_checkpoint(), 18);
}

/// A log may have more segments than a process may have files.
#[test]
fn a_start_opens_one_segment_at_a_time() {
    let disk = Simulated::new(8);
    let mut journal = open(&disk).journal;
    let at = fill(&mut journal, 100);
    commit(&mut journal);
    drop(journal);
    let disk = disk.kill();
    let opened = open(&disk);
    assert!(opened.recovery.segments > 100 && opened.records.len() == at.len());
    assert!(disk.files_open_at_most() < 4, "{} files open at once", disk.files_open_at_most());
}

#[test]
fn two_checkpoints_are_kept() {
    let disk = Simulated::new(2);
    let mut journal = open(&disk).journal;
    for round in 0..5_u8 {
        append(&mut journal, &[round]);
        checkpoint(&mut journal, &[round]);
    }
    let kept = |disk: &Simulated| {
        (1..9).filter(|n| disk.read(&dir().join(format!("{n:08x}.checkpoint"))).is_some()).collect()
    };
    let names: Vec<u32> = kept(&disk);
    assert_eq!(names, [4, 5]);
    drop(journal);
    let disk = disk.kill();
    checkpoint(&mut open(&disk).journal, b"next");
    let names: Vec<u32> = kept(&disk);
    assert_eq!(names, [5, 6]);
}

#[test]
fn a_checkpoint_is_never_ahead_of_the_log() {
    let disk = Simulated::new(3);
    let mut journal = open(&disk).journal;
    append(&mut journal, b"not durable");
    let job = journal.begin_checkpoint(b"knows of it".to_vec()).expect("none is under way");
    assert_eq!(job.covers(), journal.end());
    assert!(matches!(journal.begin_checkpoint(Vec::new()), Err(CheckpointError::UnderWay)));
    let refused = journal.end_checkpoint(job.run());
    assert!(matches!(refused, Err(CheckpointError::NotDurable { .. })), "{refused:?}");
    // Run behind the sync on the same thread it is right, also before the sync's result was handed back.
    let job = journal.begin_checkpoint(b"knows of it".to_vec()).expect("none is under way");
    let sync = journal.begin_sync().expect("the disk is well").expect("there is something");
    let (synced, written) = (sync.run(), job.run());
    journal.end_checkpoint(written).expect("the log is durable");
    journal.end_sync(synced).expect("the disk is well");
    drop(journal);
    assert_eq!(open(&disk.crash()).state.as_deref(), Some(&b"knows of it"[..]));
}

#[test]
fn a_checkpoint_of_what_was_lost_is_none() {
    let disk = Simulated::new(4);
    let mut journal = open(&disk).journal;
    append(&mut journal, b"lost");
    let job = journal.begin_checkpoint(b"knows of it".to_vec()).expect("none is under way");
    disk.fail_syncs(Fail::Nth(1));
    let sync = journal.begin_sync().expect("it was written").expect("there is something");
    journal.end_sync(sync.run()).expect_err("the disk failed");
    append(&mut journal, b"kept");
    commit(&mut journal);
    assert!(journal.durable() > job.covers());
    assert!(matches!(journal.end_checkpoint(job.run()), Err(CheckpointError::NotDurable { .. })));
}

#[test]
fn a_checkpoint_that_cannot_be_stored_leaves_the_one_before() {
    for fail in 1..=2 {
        let disk = Simulated::new(5);
        let mut journal = open(&disk).journal;
        append(&mut journal, b"one");
        checkpoint(&mut journal, b"one");
        append(&mut journal, b"two");
        commit(&mut journal);
        disk.fail_syncs(Fail::Nth(fail));
        let job = journal.begin_checkpoint(b"one two".to_vec()).expect("none is under way");
        assert!(matches!(journal.end_checkpoint(job.run()), Err(CheckpointError::Io { .. })));
        assert_eq!(disk.fired().failed_syncs, 1);
        drop(journal);
        let opened = open(&disk.crash());
        let whole = [opened.state.as_deref().unwrap_or_default(), &opened.bodies().concat()].concat();
        assert_eq!(whole.iter().filter(|byte| **byte != b' ').copied().collect::<Vec<_>>(), b"onetwo");
    }
}

#[test]
fn a_retired_segment_goes_with_the_second_checkpoint_and_not_before() {
    let disk = Simulated::new(6);
    let mut journal = open(&disk).journal;
    let at = fill(&mut journal, 2);
    checkpoint(&mut journal, b"0");
    assert_eq!(journal.retire(9), Err(RetireError::Unknown(9)));
    assert_eq!(journal.retire(3), Err(RetireError::NotSealed(3)));
    append(&mut journal, b"what makes segment 1 superfluous");
    journal.retire(1).expect("it is sealed");
    let retired = |journal: &journal::Journal| -> u32 {
        journal.segments().filter(|segment| segment.retired).map(|segment| segment.bytes).sum()
    };
    assert!(retired(&journal) > 60_000);
    checkpoint(&mut journal, b"1");
    assert!(disk.read(&segment(1)).is_some(), "the checkpoint before would need it");
    checkpoint(&mut journal, b"2");
    assert_eq!((disk.read(&segment(1)), retired(&journal)), (None, 0));
    assert!(matches!(journal.read(at[0]), Err(ReadError::Gone { .. })));
    assert_eq!(journal.read(at[100]).expect("segment 2 stays"), vec![100; 1024]);
    drop(journal);
    let opened = open(&disk.crash());
    assert_eq!((opened.state.as_deref(), opened.records.len()), (Some(&b"2"[..]), 0));
    assert_eq!(opened.journal.read(at[100]).expect("segment 2 stays"), vec![100; 1024]);
}

#[test]
fn numbers_are_not_used_again_when_every_segment_is_gone() {
    let disk = Simulated::new(7);
    let mut journal = open(&disk).journal;
    append(&mut journal, b"one");
    commit(&mut journal);
    drop(journal);
    let disk = disk.kill();
    let mut journal = open(&disk).journal;
    journal.retire(1).expect("what an earlier start wrote is sealed");
    checkpoint(&mut journal, b"");
    checkpoint(&mut journal, b"");
    assert_eq!(journal.segments().count(), 0);
    drop(journal);
    let mut opened = open(&disk.crash());
    // The checkpoints stand at the front of segment 2, which was never begun.
    assert_eq!(append(&mut opened.journal, b"two").segment, 3);
}

/// A cut is not synced, so after a crash the file may be as long as before. The state has forgotten what was lost: it
/// must not be given it.
#[test]
fn what_was_lost_does_not_come_back_to_a_checkpoint_without_it() {
    let mut came_back = 0;
    for seed in 0..32 {
        let disk = Simulated::new(seed);
        let mut journal = open(&disk).journal;
        append(&mut journal, b"kept");
        commit(&mut journal);
        // Over two segments, of which the first is synced before the second fails.
        let lost = append(&mut journal, b"lost");
        while append(&mut journal, &[b'x'; 4096]).segment == lost.segment {}
        disk.fail_syncs(Fail::Nth(2));
        let sync = journal.begin_sync().expect("it was written").expect("there is something");
        journal.end_sync(sync.run()).expect_err("the disk failed");
        let job = journal.begin_checkpoint(b"kept".to_vec()).expect("none is under way");
        journal.end_checkpoint(job.run()).expect("the log is durable");
        drop(journal);
        let disk = disk.crash();
        came_back += u32::from(disk.read(&segment(1)).is_some_and(|file| file.len() > lost.offset as usize));
        let opened = open(&disk);
        assert_eq!((opened.state.as_deref(), opened.records.len()), (Some(&b"kept"[..]), 0), "seed {seed}");
        let mut journal = opened.journal;
        let at = append(&mut journal, b"next");
        assert!(at > lost);
        commit(&mut journal);
        drop(journal);
        let opened = open(&disk.crash());
        assert_eq!(opened.records, [(at, b"next".as_slice().into())], "seed {seed}");
    }
    assert!(came_back > 0, "the test tests nothing");
}
