//! A file of zeros that is kept while the disk is nearly full, and given back piece by piece once it is full.
//!
//! Only checkpoints free what was finished, and they need space themselves, as do the records that say so. The reserve is
//! for that, but the disk is not the journal's alone: somebody else may take all of it, and then nothing could ever be
//! freed, although everything was consumed. What this file holds nobody else takes.
//!
//! It is made large enough for two checkpoints, of 1 MiB at least, and 2 MiB of records, and never larger than the
//! reserve. Records that wait may have 1 MiB of it, those that a checkpoint must cover all 2, and the checkpoints the rest.
//!
//! It is looked after once a second, and whenever the log itself takes space: it is there before the log can fill the disk. If
//! others take all of a roomy disk within a second, there is none, and checkpoints have only what the log has allocated ahead.
//!
//! Rejected: keeping it always. On a roomy disk it is never needed, and a queue that is empty should look it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::contents::spare_path;
use crate::file_system::FileSystem;

/// It is there while less than this many times the reserve is free.
const NEAR: u64 = 4;

/// It grows by so much at once, which is once a second, or with a step of the log: the journal's thread writes the zeros.
const GROWTH_BYTES: u64 = 4 << 20;

/// For the records that wait, 1 MiB and a little, and again for those that a checkpoint waits for.
const RECORDS_BYTES: u64 = (1 << 20) + (64 << 10);

/// What a checkpoint may need that is larger than the last one, or the first.
const CHECKPOINT_BYTES_MIN: u64 = 1 << 20;

/// What file systems give back at least.
const BLOCK_BYTES: u64 = 4096;

/// What must be left of it by who takes from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// Room for checkpoints, and for the records that they wait for.
    Records,
    /// Room for checkpoints.
    Checkpoints,
    /// So many bytes.
    AtLeast(u64),
}

#[derive(Debug)]
struct Held {
    /// In the file; without any there is no file.
    bytes: u64,
    /// What one checkpoint may need.
    checkpoint_bytes: u64,
}

/// Shared with the checkpoints' jobs.
#[derive(Debug)]
pub(crate) struct Spare {
    fs: Arc<dyn FileSystem>,
    path: PathBuf,
    reserve: u64,
    held: Mutex<Held>,
}

impl Spare {
    /// With what an earlier start left of it.
    pub(crate) fn new(fs: Arc<dyn FileSystem>, dir: &Path, reserve: u64, bytes: u64) -> Spare {
        let held = Mutex::new(Held { bytes, checkpoint_bytes: CHECKPOINT_BYTES_MIN });
        Spare { fs, path: spare_path(dir), reserve, held }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last checkpoint was of this size: room for two of them is to be kept.
    pub(crate) fn expect_checkpoints(&self, bytes: u64) {
        self.held().checkpoint_bytes = bytes.max(CHECKPOINT_BYTES_MIN);
    }

    /// Gives `wanted` bytes back to the disk, if `left` allows; whether there may be room now.
    pub(crate) fn give(&self, wanted: u64, left: Left) -> bool {
        let mut held = self.held();
        let all = self.wanted(&held);
        // What a small reserve bounds is for the checkpoints by half.
        let checkpoints = (2 * held.checkpoint_bytes).min(all / 2);
        let least = match left {
            Left::Records => checkpoints + (all - checkpoints) / 2,
            Left::Checkpoints => checkpoints,
            Left::AtLeast(bytes) => bytes,
        };
        // A file gives back whole blocks, and one that grows may need one more than its bytes.
        let wanted = wanted.next_multiple_of(BLOCK_BYTES) + 2 * BLOCK_BYTES;
        // A part of what is wanted would be gone, and help nobody.
        let rest = held.bytes.checked_sub(wanted).filter(|rest| *rest >= least);
        rest.is_some_and(|rest| self.cut(&mut held, rest).is_ok())
    }

    /// Whether it holds so much.
    pub(crate) fn has(&self, bytes: u64) -> bool {
        self.held().bytes >= bytes
    }

    /// How large it should be.
    fn wanted(&self, held: &Held) -> u64 {
        (2 * held.checkpoint_bytes + 2 * RECORDS_BYTES).min(self.reserve)
    }

    fn cut(&self, held: &mut Held, rest: u64) -> io::Result<()> {
        match rest {
            0 => self.fs.remove(&self.path)?,
            _ => self.fs.open(&self.path)?.set_len(rest)?,
        }
        held.bytes = rest;
        Ok(())
    }

    /// Makes it, lets it grow, or takes it away, by what is `free`; how many bytes it took.
    pub(crate) fn tend(&self, free: u64) -> u64 {
        let mut held = self.held();
        if free + held.bytes >= NEAR * self.reserve {
            if held.bytes > 0 {
                // Where it cannot be taken away it is in nobody's way.
                self.cut(&mut held, 0).ok();
            }
            return 0;
        }
        // Half of the reserve stays free: what may use it should not have to ask here.
        let room = free.saturating_sub(self.reserve / 2);
        let more = self.wanted(&held).saturating_sub(held.bytes).min(room).min(GROWTH_BYTES);
        if more == 0 || self.grow(held.bytes, more).is_err() {
            return 0;
        }
        held.bytes += more;
        more
    }

    fn grow(&self, bytes: u64, more: u64) -> io::Result<()> {
        let file = if bytes == 0 { self.fs.create(&self.path)? } else { self.fs.open(&self.path)? };
        let grown = file.allocate(bytes, more);
        if grown.is_err() {
            file.set_len(bytes).ok();
        }
        grown
    }
}
