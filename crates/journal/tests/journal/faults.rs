//! A disk that fails and a disk that is full.

use std::sync::Arc;

use journal::format::RECORDS_AT;
use journal::simulated::{Fail, Simulated};
use journal::{AppendError, Class, Journal, Position, ReadError, WriteError};

use crate::rig::{SEGMENT_BYTES, append, commit, dir, open, settings};

#[test]
fn a_failed_sync_loses_what_waited_and_the_log_goes_on_in_a_new_segment() {
    let disk = Simulated::new(1);
    let mut journal = open(&disk).journal;
    let kept = append(&mut journal, b"kept");
    commit(&mut journal);
    let durable = journal.durable();
    let lost = append(&mut journal, b"lost");
    disk.fail_syncs(Fail::Nth(1));
    let job = journal.begin_sync().expect("it is written").expect("there is something");
    let also_lost = append(&mut journal, b"appended while the sync ran");
    let end = journal.end();
    let loss = journal.end_sync(job.run()).expect_err("the disk failed");
    assert_eq!((loss.from, loss.to), (durable, end));
    assert_eq!((journal.durable(), journal.end()), (durable, durable));
    assert!(journal.health().expect_err("it failed").contains("could not be stored"));
    for gone in [lost, also_lost] {
        assert!(matches!(journal.read(gone), Err(ReadError::Gone { .. })));
    }
    assert_eq!(journal.read(kept).expect("it was durable"), "kept");

    let after = append(&mut journal, b"after");
    assert!(after > end && after.segment > kept.segment);
    commit(&mut journal);
    assert_eq!(journal.health(), Ok(()));
    drop(journal);
    assert_eq!(open(&disk.crash()).bodies(), [b"kept".as_slice(), b"after"]);
}

/// The kernel says once that it lost the pages; asked again it says yes.
#[test]
fn a_failed_sync_is_not_asked_again() {
    let disk = Simulated::new(2);
    let mut journal = open(&disk).journal;
    append(&mut journal, b"lost");
    disk.fail_syncs(Fail::Nth(1));
    let job = journal.begin_sync().expect("it is written").expect("there is something");
    journal.end_sync(job.run()).expect_err("the disk failed");
    let before = journal.durable();
    // The probe of the disk: a segment of its own, with nothing in it.
    let job = journal.begin_sync().expect("nothing to write").expect("it tries the disk");
    journal.end_sync(job.run()).expect("the disk is well again");
    assert_eq!((journal.durable(), journal.health()), (before, Ok(())));
    drop(journal);
    assert_eq!(open(&disk.crash()).records.len(), 0);
}

#[test]
fn a_disk_that_stays_broken_is_reported_until_it_is_well() {
    let disk = Simulated::new(3);
    let mut journal = open(&disk).journal;
    disk.fail_syncs(Fail::Always);
    append(&mut journal, b"lost");
    for _ in 0..5 {
        let job = journal.begin_sync().expect("it is written").expect("it tries the disk");
        journal.end_sync(job.run()).expect_err("the disk failed");
        assert!(journal.health().is_err());
    }
    disk.fail_syncs(Fail::Never);
    disk.fail_writes(Fail::Always);
    for _ in 0..5 {
        assert!(journal.begin_sync().expect("nothing was appended").is_none(), "no segment can be begun");
        assert!(matches!(journal.append(&[b"x"], Class::Reserved), Err(AppendError::Io { .. })));
        assert!(journal.health().is_err());
    }
    disk.fail_writes(Fail::Never);
    let job = journal.begin_sync().expect("nothing was appended").expect("it tries the disk");
    journal.end_sync(job.run()).expect("the disk is well");
    assert_eq!(journal.health(), Ok(()));
}

#[test]
fn a_failed_write_loses_what_the_kernel_did_not_take_and_nothing_else() {
    let disk = Simulated::new(4);
    let mut journal = open(&disk).journal;
    append(&mut journal, b"written");
    journal.write().expect("the disk is well");
    let written = journal.written();
    append(&mut journal, b"lost");
    let end = journal.end();
    disk.fail_writes(Fail::Nth(1));
    let loss = match journal.write() {
        Err(WriteError::Lost(loss)) => loss,
        other => panic!("{other:?}"),
    };
    assert_eq!((loss.from, loss.to), (written, end));
    let job = journal.begin_sync().expect("nothing to write").expect("the first record waits");
    assert_eq!(journal.end_sync(job.run()), Ok(written));
    append(&mut journal, b"after");
    commit(&mut journal);
    drop(journal);
    assert_eq!(open(&disk.crash()).bodies(), [b"written".as_slice(), b"after"]);
}

/// Every call fails in turn, once: nothing that was said to be durable may be missing, nothing else may be there.
#[test]
fn each_single_write_and_sync_may_fail() {
    for nth in 1..60 {
        for (syncs, writes) in [(Fail::Nth(nth), Fail::Never), (Fail::Never, Fail::Nth(nth))] {
            let disk = Simulated::new(nth);
            let mut journal = open(&disk).journal;
            disk.fail_syncs(syncs);
            disk.fail_writes(writes);
            let durable = append_and_commit(&mut journal, 30);
            drop(journal);
            disk.fail_syncs(Fail::Never);
            disk.fail_writes(Fail::Never);
            let opened = open(&disk.crash());
            let found: Vec<u8> = opened.records.iter().map(|(_, body)| body[0]).collect();
            let missing: Vec<&u8> = durable.iter().filter(|serial| !found.contains(serial)).collect();
            assert!(missing.is_empty(), "{missing:?} of {durable:?} are missing: {syncs:?} {writes:?}");
            assert!(found.is_sorted() && opened.records.iter().all(|(_, body)| body.len() == 5000));
        }
    }
}

/// Which of `rounds` records became durable.
fn append_and_commit(journal: &mut Journal, rounds: u8) -> Vec<u8> {
    let mut durable = Vec::new();
    for serial in 0..rounds {
        if journal.append(&[&[serial; 5000]], Class::Ordinary).is_err() {
            continue;
        }
        if let Ok(Some(job)) = journal.begin_sync()
            && journal.end_sync(job.run()).is_ok()
        {
            durable.push(serial);
        }
    }
    assert!(durable.len() >= rounds as usize - 3, "one fault costs one commit: {durable:?}");
    durable
}

#[test]
fn short_writes_are_finished() {
    let disk = Simulated::new(5);
    disk.write_short(true);
    let mut journal = open(&disk).journal;
    let mut append_and_write = |serial| {
        let at = append(&mut journal, &[serial; 3000]);
        journal.write().expect("there is space");
        at
    };
    let at: Vec<Position> = (0..200).map(&mut append_and_write).collect();
    commit(&mut journal);
    assert!(disk.fired().short_writes > 20);
    for (serial, at) in at.into_iter().enumerate() {
        assert_eq!(journal.read(at).expect("it is durable"), vec![serial as u8; 3000]);
    }
}

#[test]
fn ordinary_records_are_refused_at_the_reserve_and_taken_again_when_there_is_space() {
    let disk = Simulated::new(6);
    disk.set_capacity(1 << 20);
    let mut journal = open(&disk).journal;
    let mut taken = 0;
    let refused = loop {
        // A commit gives back what a sealed segment had allocated ahead.
        commit(&mut journal);
        match journal.append(&[&[1; 1000]], Class::Ordinary) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, AppendError::Full { free, reserve: 32_768 } if free <= 32_768), "{refused}");
    assert!(taken > 900, "{taken} KiB of 1,024");
    assert!(journal.space().full && journal.health().expect_err("it is full").contains("full"));
    journal.append(&[b"finished"], Class::Reserved).expect("it may use the reserve");
    commit(&mut journal);

    disk.set_capacity(2 << 20);
    assert!(!journal.space().full);
    assert_eq!(journal.health(), Ok(()));
    append(&mut journal, b"resumed");
    commit(&mut journal);
}

#[test]
fn no_space_at_all_never_breaks_what_was_taken() {
    let disk = Simulated::new(7);
    let mut journal = open(&disk).journal;
    let first = append(&mut journal, &[1; 1000]);
    disk.set_capacity(disk.used());
    // Until the file system was asked, the journal goes by what it knew.
    let mut taken = vec![first];
    while let Ok(at) = journal.append(&[&[1; 1000]], Class::Ordinary) {
        taken.push(at);
    }
    commit(&mut journal);
    // Reserved ones first use what is allocated, then wait in memory, up to a bound.
    let mut waiting = 0;
    while journal.append(&[&[2; 100]], Class::Reserved).is_ok() {
        waiting += 1;
    }
    assert!((9_000..11_000).contains(&waiting), "a MiB and a little: {waiting}");
    assert_eq!(journal.write(), Err(WriteError::Full));
    assert!(disk.fired().out_of_space > 0);
    let job = journal.begin_sync().expect("nothing is lost").expect("some were written");
    journal.end_sync(job.run()).expect("the disk is well");
    assert!(journal.durable() < journal.end());
    assert!(journal.health().is_err());

    disk.set_capacity(8 << 20);
    journal.space();
    commit(&mut journal);
    assert_eq!(journal.health(), Ok(()));
    drop(journal);
    let opened = open(&disk.crash());
    assert_eq!(opened.records.len(), taken.len() + waiting);
}

#[test]
fn a_full_disk_is_no_reason_not_to_start() {
    let disk = Simulated::new(8);
    let mut journal = open(&disk).journal;
    append(&mut journal, b"kept");
    commit(&mut journal);
    append(&mut journal, &[3; 2000]);
    journal.write().expect("there is space");
    drop(journal);
    let disk = disk.kill();
    disk.set_capacity(0);
    let mut opened = open(&disk);
    assert_eq!(opened.bodies().first(), Some(&b"kept".as_slice()));
    assert!(matches!(opened.journal.append(&[b"x"], Class::Ordinary), Err(AppendError::Full { .. })));
    assert!(matches!(opened.journal.append(&[b"x"], Class::Reserved), Err(AppendError::Full { .. })));
    disk.set_capacity(1 << 20);
    assert!(!opened.journal.space().full);
    append(&mut opened.journal, b"resumed");
    commit(&mut opened.journal);
}

/// What is kept in memory for readers is bounded, and what is on disk reads the same.
#[test]
fn records_read_alike_from_memory_and_from_disk() {
    let disk = Simulated::new(9);
    let mut journal = open(&disk).journal;
    let sizes = [0, 1, 4083, 4084, 4085, 5000, 100_000, SEGMENT_BYTES as usize * 5];
    let at: Vec<(Position, Vec<u8>)> = (0..80)
        .map(|serial| vec![serial as u8; sizes[serial % sizes.len()]])
        .map(|body| (append(&mut journal, &body), body))
        .collect();
    let check = |journal: &Journal| {
        for (at, body) in &at {
            assert_eq!(journal.read(*at).expect("it is there"), body);
        }
    };
    check(&journal);
    journal.write().expect("there is space");
    check(&journal);
    commit(&mut journal);
    check(&journal);
    drop(journal);
    let journal = open(&disk.crash()).journal;
    check(&journal);
    let nowhere = Position { segment: 1, offset: RECORDS_AT + 1 };
    assert!(matches!(journal.read(nowhere), Err(ReadError::Damaged { .. })));
}

/// Somebody else has taken the whole disk, reserve and all, and gives nothing back.
#[test]
fn a_disk_without_a_free_byte_gets_room_by_what_is_consumed() {
    for state in [&b"everything was consumed"[..], &[7; 100_000]] {
        let disk = Simulated::new(10);
        disk.set_capacity(64 << 20);
        let open = |disk: &Simulated| {
            let settings = journal::Settings::default();
            let replay = Journal::open(std::sync::Arc::new(disk.clone()), crate::rig::dir(), settings);
            let replay = replay.expect("a start");
            let state = replay.checkpoint();
            let (journal, recovery) = replay.finish().expect("it is synced");
            (journal, state, recovery)
        };
        let mut journal = open(&disk).0;
        crate::rig::checkpoint(&mut journal, &[7; 100_000]);
        let mut taken = 0;
        while journal.append(&[&[1; 10_000]], Class::Ordinary).is_ok() {
            taken += 1;
            if taken % 100 == 0 {
                commit(&mut journal);
                journal.space();
            }
        }
        commit(&mut journal);
        let full = disk.used();
        disk.set_capacity(full);
        assert_eq!(journal.space().free, 0);

        // What is finished fits into memory and spare, up to a bound; behind it the state alone knows.
        let mut finished = 0_u64;
        while finished < 2 << 20 && journal.append(&[&[2; 1000]], Class::Reserved).is_ok() {
            finished += 1000;
            if finished.is_multiple_of(50_000) {
                let job = journal.begin_sync().expect("nothing is lost");
                job.into_iter().for_each(|job| drop(journal.end_sync(job.run())));
            }
        }
        assert!(finished > 3 << 19, "{finished} bytes were taken");
        let sealed: Vec<u32> =
            journal.segments().filter(|segment| segment.sealed).map(|segment| segment.number).collect();
        sealed.into_iter().for_each(|number| journal.retire(number).expect("it is sealed"));
        crate::rig::checkpoint(&mut journal, state);
        crate::rig::checkpoint(&mut journal, state);
        assert!(disk.used() < full / 4, "{} of {full} bytes are still used", disk.used());
        assert!(!journal.space().full);
        let resumed = append(&mut journal, b"resumed");
        commit(&mut journal);
        drop(journal);
        let (journal, found, recovery) = open(&disk.crash());
        assert_eq!((found.as_deref(), recovery.records), (Some(state), 1));
        assert_eq!(journal.read(resumed).expect("it is durable"), "resumed");
    }
}

#[test]
fn a_roomy_disk_has_no_spare_file_and_one_that_has_room_again_gives_it_back() {
    let disk = Simulated::new(11);
    let spare = crate::rig::dir().join("journal.spare");
    // So that the reserve is not bounded by the disk's size.
    disk.put(std::path::Path::new("/filler"), vec![1; 1 << 20]);
    let mut journal = open(&disk).journal;
    append(&mut journal, b"one");
    commit(&mut journal);
    journal.space();
    assert_eq!(disk.read(&spare), None);
    disk.set_capacity(disk.used() + (80 << 10));
    journal.space();
    let bytes = disk.read(&spare).expect("the disk is nearly full").len();
    assert_eq!(bytes, 32 << 10, "no more than the reserve");
    journal.space();
    assert_eq!(disk.read(&spare).map(|spare| spare.len()), Some(bytes), "once");
    drop(journal);
    let disk = disk.kill();
    let journal = open(&disk).journal;
    journal.space();
    assert_eq!(disk.read(&spare).map(|spare| spare.len()), Some(bytes), "an earlier start's is taken over");
    disk.set_capacity(4 << 20);
    journal.space();
    assert_eq!(disk.read(&spare), None);
}

/// The page cache shows it, and the next sync says yes, but the disk has never got it.
#[test]
fn what_a_failed_start_could_not_sync_is_written_again_by_the_next() {
    for seed in 0..20 {
        let disk = Simulated::new(seed);
        let mut journal = open(&disk).journal;
        append(&mut journal, b"kept");
        commit(&mut journal);
        append(&mut journal, &[b'x'; 9000]);
        journal.write().expect("the kernel takes it");
        drop(journal);
        let disk = disk.kill();
        let replay = Journal::open(Arc::new(disk.clone()), dir(), settings()).expect("it can be read");
        disk.fail_syncs(Fail::Nth(1));
        assert!(replay.finish().is_err(), "it could not be synced");
        assert_eq!(disk.fired().failed_syncs, 1);
        let disk = disk.kill();
        assert_eq!(open(&disk).bodies(), [b"kept".as_slice(), [b'x'; 9000].as_slice()]);
        let disk = disk.crash();
        assert_eq!(open(&disk).bodies(), [b"kept".as_slice(), [b'x'; 9000].as_slice()]);
        assert_eq!(disk.read(&dir().join("journal.unsynced")), None);
    }
}
