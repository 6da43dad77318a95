//! A log that was cut, flipped, overwritten, or written to by somebody who would like to forge it.

use journal::format::RECORDS_AT;
use journal::simulated::Simulated;
use journal::{Class, Journal, ReadError};

use crate::rig::{SEGMENT_BYTES, append, checkpoint, commit, dir, disk_of, disk_with, open, segment};

const BODIES: [&[u8]; 4] = [b"the first", &[7; 700], b"", &[9; 300]];

/// The bytes of segment 1 up to its last record, and where its records begin.
fn small_segment() -> (Vec<u8>, Vec<u32>) {
    let (disk, at) = disk_with(&BODIES);
    let journal = open(&disk).journal;
    let bytes = disk.read(&segment(1)).expect("the segment");
    assert_eq!(journal.segments().map(|segment| segment.bytes as usize).sum::<usize>(), bytes.len());
    (bytes, at.iter().map(|at| at.offset).collect())
}

/// A start gives back `wanted`; the next append works and is there at the start after it.
fn assert_gives_back(disk: Simulated, wanted: &[&[u8]], what: &str) {
    let mut opened = open(&disk);
    assert_eq!(opened.bodies(), wanted, "{what}");
    for (at, body) in &opened.records {
        assert_eq!(opened.journal.read(*at).expect("it was just given back"), body, "{what}");
    }
    append(&mut opened.journal, b"afterwards");
    commit(&mut opened.journal);
    drop(opened);
    let again = open(&disk.crash());
    let wanted: Vec<&[u8]> = wanted.iter().copied().chain([b"afterwards".as_slice()]).collect();
    assert_eq!(again.bodies(), wanted, "{what}, at the second start");
    assert_eq!(again.recovery.cut_bytes, 0, "{what}: what was cut once is gone");
}

#[test]
fn a_log_cut_at_every_byte_of_its_last_two_records_gives_back_the_others() {
    let (whole, offsets) = small_segment();
    for cut in offsets[2] as usize..whole.len() {
        let disk = disk_of(&segment(1), &whole[..cut]);
        let kept = if cut < offsets[3] as usize { 2 } else { 3 };
        assert_gives_back(disk, &BODIES[..kept], &format!("cut at {cut}"));
    }
}

#[test]
fn a_torn_tail_is_copied_aside_before_it_is_cut() {
    let (whole, offsets) = small_segment();
    let torn = &whole[..whole.len() - 1];
    let disk = disk_of(&segment(1), torn);
    let opened = open(&disk);
    let rest = &torn[offsets[3] as usize..];
    // Zeros at its end are not told from space that was allocated ahead.
    assert_eq!(opened.recovery.cut_bytes, rest.len() as u64);
    assert_eq!(opened.recovery.set_aside, [format!("00000001-{}.torn", offsets[3])]);
    assert_eq!(disk.read(&dir().join(&opened.recovery.set_aside[0])).as_deref(), Some(rest));
    assert_eq!(disk.read(&segment(1)).expect("the segment").len(), offsets[3] as usize);
}

#[test]
fn zeros_and_garbage_behind_the_end_are_harmless() {
    let (whole, _) = small_segment();
    let mut random = Simulated::new(3);
    for bytes in [1, 11, 12, 13, 511, 512, 4096, 40_000] {
        let zeros = [whole.clone(), vec![0; bytes]].concat();
        assert_gives_back(disk_of(&segment(1), &zeros), &BODIES, "zeros");
        for round in 0..20 {
            let garbage: Vec<u8> =
                std::iter::repeat_with(|| journal::FileSystem::random(&random) as u8).take(bytes).collect();
            let garbage = [whole.clone(), garbage].concat();
            assert_gives_back(disk_of(&segment(1), &garbage), &BODIES, &format!("garbage {bytes} {round}"));
        }
        random = Simulated::new(bytes as u64);
    }
}

#[test]
fn a_flipped_bit_costs_at_most_its_record() {
    let (whole, offsets) = small_segment();
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let hit = offsets.iter().rposition(|at| *at as usize <= bit / 8);
        let mut wanted = BODIES.to_vec();
        if let Some(hit) = hit {
            wanted.remove(hit);
        }
        let opened = open(&disk_of(&segment(1), &flipped));
        assert_eq!(opened.bodies(), wanted, "bit {bit}");
        let recovery = &opened.recovery;
        match hit {
            None => assert!(recovery.is_clean() && recovery.set_aside.is_empty(), "bit {bit}"),
            Some(3) => assert!(recovery.cut_bytes > 0 && recovery.set_aside.len() == 1, "bit {bit}"),
            Some(_) => assert_eq!((recovery.quarantined, recovery.set_aside.len()), (1, 1), "bit {bit}"),
        }
    }
}

#[test]
fn a_damaged_record_is_copied_aside_and_not_read() {
    let (mut bytes, offsets) = small_segment();
    bytes[offsets[1] as usize + 100] ^= 0x10;
    let damaged = bytes[offsets[1] as usize..offsets[2] as usize].to_vec();
    let disk = disk_of(&segment(1), &bytes);
    let opened = open(&disk);
    assert_eq!(opened.recovery.quarantined_bytes, damaged.len() as u64);
    assert_eq!(disk.read(&dir().join(format!("00000001-{}.damaged", offsets[1]))), Some(damaged));
    let at = journal::Position { segment: 1, offset: offsets[1] };
    assert!(matches!(opened.journal.read(at), Err(ReadError::Damaged { .. })));
}

#[test]
fn blocks_that_the_disk_cannot_read_cost_the_records_in_them() {
    let bodies: Vec<Vec<u8>> = (0..40_u8).map(|serial| vec![serial; 1000]).collect();
    let bodies: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
    let (disk, at) = disk_with(&bodies);
    let (from, until) = (16_384, 20_480);
    disk.break_blocks(&segment(1), from..until);
    let opened = open(&disk);
    let whole = |index: &usize| {
        let begins = u64::from(at[*index].offset);
        begins + 1012 <= from || begins >= until
    };
    let wanted: Vec<&[u8]> = (0..40).filter(whole).map(|index| bodies[index]).collect();
    assert!(opened.bodies() == wanted, "{} of {} records", opened.bodies().len(), wanted.len());
    assert!(opened.recovery.unreadable_bytes >= 4096 && disk.fired().failed_reads > 0);
}

/// What the disk did not give at one start is not cut by the next one, which finds that the log went on behind it.
#[test]
fn a_last_record_that_the_disk_could_not_read_is_back_when_it_can() {
    // The last one has a block of the disk for itself.
    let bodies = [&[1; 3072 - 12][..], &[2; 4096 - 12], &[3; 4096 - 12]];
    let (disk, at) = disk_with(&bodies);
    assert_eq!(at[2].offset, 8192);
    disk.break_blocks(&segment(1), 8192..12_288);
    let mut opened = open(&disk);
    assert!(opened.bodies() == bodies[..2], "{} records", opened.records.len());
    assert!(opened.recovery.unreadable_bytes > 0);
    assert_eq!(opened.recovery.cut_bytes, 0, "what stays is not cut");
    append(&mut opened.journal, b"afterwards");
    commit(&mut opened.journal);
    drop(opened);
    let disk = disk.kill();
    disk.heal_blocks(&segment(1));
    let opened = open(&disk);
    assert!(opened.bodies() == [bodies[0], bodies[1], bodies[2], b"afterwards"], "{}", opened.records.len());
}

#[test]
fn a_copy_lacks_only_the_blocks_that_the_disk_cannot_read() {
    let (disk, at) = disk_with(&[b"before", &[7; 40_000], b"behind"]);
    let (from, to) = (at[1].offset as usize, at[2].offset as usize);
    disk.break_blocks(&segment(1), 16_384..20_480);
    let opened = open(&disk);
    assert_eq!(opened.bodies(), [b"before", b"behind"]);
    let mut wanted = disk.read(&segment(1)).expect("the segment")[from..to].to_vec();
    wanted[16_384 - from..20_480 - from].fill(0);
    let copy = disk.read(&dir().join(format!("00000001-{from}.damaged"))).expect("the copy");
    assert!(copy == wanted, "{} bytes of it are zeros", copy.iter().filter(|byte| **byte == 0).count());
}

/// Whether the disk is full or there are copies enough: without a copy nothing is cut, at no later start either.
#[test]
fn a_torn_tail_that_cannot_be_copied_stays() {
    let (whole, offsets) = small_segment();
    let torn = &whole[..whole.len() - 1];
    let copy = dir().join(format!("00000001-{}.torn", offsets[3]));
    let stays = |disk: &Simulated, what: &str| {
        let opened = open(disk);
        assert_eq!(opened.bodies()[..3], BODIES[..3], "{what}");
        assert_eq!((opened.recovery.cut_bytes, opened.recovery.set_aside.len()), (0, 0), "{what}");
        assert_eq!(disk.read(&segment(1)).as_deref(), Some(torn), "{what}");
        assert_eq!(disk.read(&copy), None, "{what}: no half copy");
        opened.journal
    };
    let goes = |disk: &Simulated, what: &str| {
        let opened = open(disk);
        assert_eq!(opened.bodies(), [BODIES[0], BODIES[1], BODIES[2], b"afterwards"], "{what}");
        assert_eq!(opened.recovery.cut_bytes, disk.read(&copy).map_or(0, |copy| copy.len() as u64), "{what}");
        assert!(opened.recovery.cut_bytes > 0, "{what}");
    };

    let disk = disk_of(&segment(1), torn);
    disk.set_capacity(disk.used());
    let mut journal = stays(&disk, "full");
    disk.set_capacity(1 << 20);
    journal.space();
    append(&mut journal, b"afterwards");
    commit(&mut journal);
    drop(journal);
    goes(&disk.kill(), "full, then not");

    let disk = disk_of(&segment(1), torn);
    let earlier = |serial: u32| dir().join(format!("00000001-{serial}.damaged"));
    (0..64).for_each(|serial| disk.put(&earlier(serial), vec![1]));
    let mut journal = stays(&disk, "copies enough");
    append(&mut journal, b"afterwards");
    commit(&mut journal);
    drop(journal);
    let disk = disk.kill();
    let journal = stays(&disk, "copies enough, again");
    drop(journal);
    let disk = disk.kill();
    (0..64).for_each(|serial| journal::FileSystem::remove(&disk, &earlier(serial)).expect("it is there"));
    goes(&disk, "then none");
}

#[test]
fn a_segment_without_a_whole_head_is_set_aside_and_the_others_stay() {
    let disk = Simulated::new(5);
    let mut journal = open(&disk).journal;
    let bodies: Vec<Vec<u8>> = (0..100_u8).map(|serial| vec![serial; 1500]).collect();
    let at: Vec<_> = bodies.iter().map(|body| append(&mut journal, body)).collect();
    commit(&mut journal);
    drop(journal);
    let disk = disk.kill();
    let mut second = disk.read(&segment(2)).expect("more than one segment");
    second[3] ^= 1;
    second[512] ^= 1;
    disk.put(&segment(2), second);
    let opened = open(&disk);
    let kept = at.iter().zip(&bodies).filter(|(at, _)| at.segment != 2).map(|(_, body)| body.as_slice());
    assert_eq!(opened.bodies(), kept.collect::<Vec<_>>());
    assert_eq!(opened.recovery.unreadable_segments, 1);
    assert_eq!(opened.recovery.set_aside, ["segment-00000002.damaged"]);
}

/// Whoever writes bodies knows the format, the other segments, and everything but the salt of the segment in which the
/// body will stand.
#[test]
fn a_body_made_of_well_formed_records_is_a_body() {
    let (other, _) = small_segment();
    let forged = [&other[RECORDS_AT as usize..], &other].concat();
    let (disk, at) = disk_with(&[b"before", &forged, &forged, b"behind"]);
    assert_eq!(open(&disk).bodies(), [b"before".as_slice(), &forged, &forged, b"behind"]);
    let disk = disk.kill();
    let whole = disk.read(&segment(1)).expect("the segment");
    // Damage in the head of the record makes the search for the next one run through its body.
    for hit in 0..12 {
        let mut bytes = whole.clone();
        bytes[at[1].offset as usize + hit] ^= 0xff;
        let opened = open(&disk_of(&segment(1), &bytes));
        assert_eq!(opened.bodies(), [b"before".as_slice(), &forged, b"behind"], "byte {hit} of the head");
    }
    // And a cut in it leaves a tail that is full of records of another salt.
    let cut = at[2].offset as usize + 12 + forged.len() / 2;
    let opened = open(&disk_of(&segment(1), &whole[..cut]));
    assert_eq!(opened.bodies(), [b"before".as_slice(), &forged]);
}

/// The sum of a record covers where it stands: a copy of it elsewhere in its own segment is none.
#[test]
fn a_record_at_the_wrong_place_is_none() {
    let (mut bytes, offsets) = small_segment();
    let copy = bytes[offsets[0] as usize..offsets[1] as usize].to_vec();
    bytes.extend_from_slice(&copy);
    let opened = open(&disk_of(&segment(1), &bytes));
    assert_eq!(opened.bodies(), BODIES);
    assert_eq!(opened.recovery.cut_bytes, copy.len() as u64);
}

#[test]
fn every_flipped_bit_of_a_checkpoint_leaves_the_state_whole() {
    let disk = Simulated::new(6);
    let mut journal = open(&disk).journal;
    append(&mut journal, b"one");
    checkpoint(&mut journal, b"one");
    append(&mut journal, b"two");
    checkpoint(&mut journal, b"one two");
    append(&mut journal, b"three");
    commit(&mut journal);
    let path = dir().join("00000002.checkpoint");
    let whole = disk.read(&path).expect("the newest checkpoint");
    drop(journal);
    for bit in 0..whole.len() * 8 {
        let disk = disk.kill();
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        disk.put(&path, flipped);
        let opened = open(&disk);
        let records: Vec<u8> = opened.bodies().concat();
        // Bytes 40..64 are between head and state, and mean nothing.
        if (40 * 8..64 * 8).contains(&bit) {
            assert_eq!(
                (opened.state.as_deref(), &*records),
                (Some(&b"one two"[..]), &b"three"[..]),
                "bit {bit}"
            );
        } else {
            assert_eq!(
                (opened.state.as_deref(), &*records),
                (Some(&b"one"[..]), &b"twothree"[..]),
                "bit {bit}"
            );
            assert_eq!(opened.recovery.damaged_checkpoints, 1, "bit {bit}");
        }
    }
}

#[test]
fn a_large_record_across_windows_and_chunks_is_found_behind_damage() {
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (disk, at) = disk_with(&[&[1; 200_000], &large, b"small"]);
    assert!(u64::from(at[1].segment) > 1 && large.len() > SEGMENT_BYTES as usize, "a segment of its own");
    let opened = open(&disk);
    assert_eq!(opened.bodies(), [&[1; 200_000][..], &large, b"small"]);
    assert_eq!(opened.journal.read(at[1]).expect("it is whole"), large);
    let disk = disk.kill();
    let path = segment(at[0].segment);
    let mut first = disk.read(&path).expect("the first segment");
    first[150_000] ^= 1;
    disk.put(&path, first);
    assert_eq!(open(&disk).bodies(), [&large[..], b"small"]);
}

#[test]
fn a_record_over_the_limit_is_refused_and_the_log_goes_on() {
    let settings = journal::Settings { record_bytes_max: 100, ..crate::rig::settings() };
    let disk = Simulated::new(9);
    let replay = Journal::open(std::sync::Arc::new(disk), dir(), settings).expect("a start");
    let (mut journal, _) = replay.finish().expect("nothing to read");
    let refused = journal.append(&[&[0; 60], &[0; 41]], Class::Reserved);
    assert_eq!(refused, Err(journal::AppendError::TooLarge { bytes: 101, max: 100 }));
    assert_eq!(journal.end(), journal::Position::START);
    journal.append(&[&[0; 60], &[0; 40]], Class::Reserved).expect("it fits");
}
