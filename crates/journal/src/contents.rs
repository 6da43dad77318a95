//! What lies in the journal's directory, by name.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::file_system::FileSystem;

pub(crate) const LOCK: &str = "journal.lock";
const SPARE: &str = "journal.spare";
const UNSYNCED: &str = "journal.unsynced";
const UNFINISHED: &str = "checkpoint.tmp";
const SEGMENT: &str = "segment";
const CHECKPOINT: &str = "checkpoint";

/// The files that the journal knows by their names; others are let alone.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// Number and bytes.
    pub(crate) segments: BTreeMap<u32, u64>,
    /// Sequence number and bytes.
    pub(crate) checkpoints: BTreeMap<u32, u64>,
    /// Names of copies of what could not be read.
    pub(crate) set_aside: BTreeSet<String>,
    /// Bytes of the spare file.
    pub(crate) spare: u64,
    /// A sync has failed, and no start has gone well since.
    pub(crate) unsynced: bool,
    /// A checkpoint was being written when the program ended.
    pub(crate) unfinished: bool,
}

impl Contents {
    pub(crate) fn of(fs: &dyn FileSystem, dir: &Path) -> io::Result<Contents> {
        let mut contents = Contents::default();
        for entry in fs.list(dir)? {
            match entry.name.rsplit_once('.') {
                Some((number, SEGMENT)) => insert(&mut contents.segments, number, entry.bytes),
                Some((number, CHECKPOINT)) => insert(&mut contents.checkpoints, number, entry.bytes),
                _ if entry.name == SPARE => contents.spare = entry.bytes,
                _ if entry.name == UNSYNCED => contents.unsynced = true,
                Some((_, "damaged" | "torn")) => drop(contents.set_aside.insert(entry.name)),
                _ => contents.unfinished |= entry.name == UNFINISHED,
            }
        }
        Ok(contents)
    }
}

fn insert(into: &mut BTreeMap<u32, u64>, number: &str, bytes: u64) {
    let is_ours = number.len() == 8 && number.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    if let Some(number) = u32::from_str_radix(number, 16).ok().filter(|_| is_ours) {
        into.insert(number, bytes);
    }
}

pub(crate) fn segment_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:08x}.{SEGMENT}"))
}

pub(crate) fn checkpoint_path(dir: &Path, sequence: u32) -> PathBuf {
    dir.join(format!("{sequence:08x}.{CHECKPOINT}"))
}

pub(crate) fn spare_path(dir: &Path) -> PathBuf {
    dir.join(SPARE)
}

pub(crate) fn unsynced_path(dir: &Path) -> PathBuf {
    dir.join(UNSYNCED)
}

pub(crate) fn unfinished_path(dir: &Path) -> PathBuf {
    dir.join(UNFINISHED)
}
