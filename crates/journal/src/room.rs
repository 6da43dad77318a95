//! How much of the disk is left, and who may have it.
//!
//! Three thresholds, from the top: below the reserve ordinary records are refused; below a quarter of the reserve
//! nothing is allocated ahead any more, so that as much as can be remains for the checkpoints that free segments; and at
//! nothing, reserved records wait in memory. What checkpoints find even then is in `spare`.
//!
//! The file system is asked when the journal's owner asks ([`crate::Journal::space`], once a second), and before each step
//! that ordinary records let the log grow by; in between the journal counts what it takes itself.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::AppendError;
use crate::file_system::FileSystem;

/// What is left of the reserve when nothing is allocated ahead any more, as a part of it.
const LAST_SHARE: u64 = 4;

/// How much of the disk is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes of the file system in all.
    pub total: u64,
    /// Bytes of it that are free.
    pub free: u64,
    /// Bytes that ordinary records leave free.
    pub reserve: u64,
    /// Ordinary records are refused.
    pub full: bool,
}

#[derive(Debug)]
pub(crate) struct Room {
    fs: Arc<dyn FileSystem>,
    dir: PathBuf,
    total: u64,
    reserve: u64,
    free: Cell<u64>,
}

impl Room {
    pub(crate) fn new(fs: Arc<dyn FileSystem>, dir: PathBuf, total: u64, free: u64, reserve: u64) -> Room {
        Room { fs, dir, total, reserve, free: Cell::new(free) }
    }

    /// Asks the file system; keeps the last answer when there is none.
    pub(crate) fn ask(&self) -> Space {
        if let Ok(space) = self.fs.space(&self.dir) {
            self.free.set(space.free);
        }
        self.last()
    }

    /// The last answer, and what was taken since.
    pub(crate) fn last(&self) -> Space {
        Space { total: self.total, free: self.free.get(), reserve: self.reserve, full: self.is_full() }
    }

    pub(crate) fn took(&self, bytes: u64) {
        self.free.set(self.free.get().saturating_sub(bytes));
    }

    pub(crate) fn gave_back(&self, bytes: u64) {
        self.free.set(self.free.get().saturating_add(bytes));
    }

    /// The file system said so itself.
    pub(crate) fn is_used_up(&self) {
        self.free.set(0);
    }

    /// No room for ordinary records.
    pub(crate) fn is_full(&self) -> bool {
        self.free.get() <= self.reserve
    }

    /// No room but for what is written at once.
    pub(crate) fn is_nearly_used_up(&self) -> bool {
        self.free.get() <= self.reserve / LAST_SHARE
    }

    pub(crate) fn full(&self) -> AppendError {
        AppendError::Full { free: self.free.get(), reserve: self.reserve }
    }
}
