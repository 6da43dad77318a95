//! A journal on a simulated disk, with the smallest segments there are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use journal::simulated::Simulated;
use journal::{Class, Journal, Position, Recovery, Settings};

pub(crate) const SEGMENT_BYTES: u32 = 64 * 1024;

pub(crate) fn dir() -> &'static Path {
    Path::new("/queue")
}

pub(crate) fn segment(number: u32) -> PathBuf {
    dir().join(format!("{number:08x}.segment"))
}

pub(crate) fn settings() -> Settings {
    Settings {
        segment_bytes: SEGMENT_BYTES,
        tail_bytes: 16 * 1024,
        reserve_bytes: 32 * 1024,
        ..Settings::default()
    }
}

/// An open journal, and what its start gave back.
pub(crate) struct Opened {
    pub(crate) journal: Journal,
    pub(crate) recovery: Recovery,
    pub(crate) state: Option<Bytes>,
    pub(crate) records: Vec<(Position, Bytes)>,
}

impl Opened {
    pub(crate) fn bodies(&self) -> Vec<&[u8]> {
        self.records.iter().map(|(_, body)| body.as_ref()).collect()
    }
}

pub(crate) fn open(disk: &Simulated) -> Opened {
    let mut replay = Journal::open(Arc::new(disk.clone()), dir(), settings()).expect("a start");
    let state = replay.checkpoint();
    let mut records = Vec::new();
    while let Some(record) = replay.next() {
        records.push(record);
    }
    let (journal, recovery) = replay.finish().expect("what was read is synced");
    assert_eq!(recovery.records, records.len() as u64);
    Opened { journal, recovery, state, records }
}

pub(crate) fn append(journal: &mut Journal, body: &[u8]) -> Position {
    journal.append(&[body], Class::Ordinary).expect("there is space")
}

/// One group commit.
pub(crate) fn commit(journal: &mut Journal) {
    if let Some(job) = journal.begin_sync().expect("the disk is well") {
        journal.end_sync(job.run()).expect("the disk is well");
    }
    assert_eq!(journal.durable(), journal.end());
}

/// A checkpoint of `state`, behind a commit.
pub(crate) fn checkpoint(journal: &mut Journal, state: &[u8]) {
    let job = journal.begin_checkpoint(state.to_vec()).expect("none is under way");
    commit(journal);
    journal.end_checkpoint(job.run()).expect("the log is durable");
}

/// A disk with these records on it, durable, in segment 1, and where they lie.
pub(crate) fn disk_with(bodies: &[&[u8]]) -> (Simulated, Vec<Position>) {
    let disk = Simulated::new(1);
    let mut journal = open(&disk).journal;
    let at = bodies.iter().map(|body| append(&mut journal, body)).collect();
    commit(&mut journal);
    drop(journal);
    (disk.kill(), at)
}

/// A new disk with one file on it, durable.
pub(crate) fn disk_of(path: &Path, bytes: &[u8]) -> Simulated {
    let disk = Simulated::new(2);
    disk.put(path, bytes.to_vec());
    disk
}
