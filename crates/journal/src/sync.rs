//! Group commit, and what is lost when it fails.
//!
//! While one sync runs, appends collect; the next sync takes all of them. The job touches files only, the journal's
//! state changes when its result is handed back, so a job may run on another thread or in place.
//!
//! Only these jobs sync the log: the kernel reports a failure once, to whoever syncs that file next, and a second one
//! who syncs could take it away from the commit that it was meant for.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::contents::segment_path;
use crate::error::Lost;
use crate::file_system::{File, FileSystem};
use crate::journal::{Journal, Segment};
use crate::position::Position;
use crate::write_back;

/// What a job on another thread may ask about the log.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    durable: AtomicU64,
    losses: AtomicU32,
}

impl Progress {
    pub(crate) fn durable(&self) -> Position {
        Position::from_u64(self.durable.load(Ordering::Acquire))
    }

    pub(crate) fn is_durable(&self, until: Position) {
        self.durable.fetch_max(until.to_u64(), Ordering::AcqRel);
    }

    /// How often records were lost: what was true before a loss need not be true behind it.
    pub(crate) fn losses(&self) -> u32 {
        self.losses.load(Ordering::Acquire)
    }
}

/// A file that is not active any more and still has to be synced.
#[derive(Debug)]
pub(crate) struct Unsynced {
    pub(crate) file: Arc<dyn File>,
    /// End of its records; what was allocated behind it is given back.
    pub(crate) cut: u32,
}

/// Makes durable what was written when it was made.
#[derive(Debug)]
#[must_use = "nothing becomes durable before it is run and handed back to `end_sync`"]
pub struct SyncJob {
    fs: Arc<dyn FileSystem>,
    /// Of the journal, when names in it have to be synced too.
    dir: Option<PathBuf>,
    sealed: Vec<Unsynced>,
    active: Option<Arc<dyn File>>,
    target: Position,
    losses: u32,
    progress: Arc<Progress>,
}

/// What became of a [`SyncJob`].
#[derive(Debug)]
#[must_use = "hand it to `end_sync`"]
pub struct SyncDone {
    target: Position,
    losses: u32,
    result: io::Result<()>,
}

impl SyncJob {
    /// Syncs, and blocks for as long as the disk takes.
    pub fn run(self) -> SyncDone {
        let result = self.sync();
        if result.is_ok() {
            self.progress.is_durable(self.target);
        }
        SyncDone { target: self.target, losses: self.losses, result }
    }

    fn sync(&self) -> io::Result<()> {
        for sealed in &self.sealed {
            // Zeros that stay behind the records cost space, nothing else.
            sealed.file.set_len(u64::from(sealed.cut)).ok();
            sealed.file.sync()?;
        }
        if let Some(active) = &self.active {
            active.sync()?;
        }
        self.dir.as_deref().map_or(Ok(()), |dir: &Path| self.fs.sync_dir(dir))
    }
}

impl Journal {
    /// Writes what is left and gives the job that makes it durable. `None`: everything is, or a job is out.
    ///
    /// After a failure of the disk it begins a new segment even when nothing was appended, so that it shows when the
    /// disk is well again: call it about once a second while [`Journal::health`] complains.
    ///
    /// # Errors
    /// What could not be written and is lost.
    pub fn begin_sync(&mut self) -> Result<Option<SyncJob>, Lost> {
        if self.syncing {
            return Ok(None);
        }
        self.flush()?;
        if self.failed.is_some() && !self.has_unsynced() {
            // Its own failure is in `health`.
            self.begin_segment(0).ok();
        }
        if !self.has_unsynced() {
            return Ok(None);
        }
        self.syncing = true;
        Ok(Some(SyncJob {
            fs: Arc::clone(&self.fs),
            dir: std::mem::take(&mut self.names_unsynced).then(|| self.dir.clone()),
            sealed: std::mem::take(&mut self.unsynced),
            active: self.active.as_ref().map(|active| Arc::clone(&active.file)),
            target: self.written,
            losses: self.progress.losses(),
            progress: Arc::clone(&self.progress),
        }))
    }

    fn has_unsynced(&self) -> bool {
        self.written != self.durable || !self.unsynced.is_empty() || self.names_unsynced
    }

    /// Takes the result of a job back: the new end of what is durable.
    ///
    /// # Errors
    /// The sync failed: everything that was appended and not durable is lost, also what came after the job was made.
    pub fn end_sync(&mut self, done: SyncDone) -> Result<Position, Lost> {
        self.syncing = false;
        match done.result {
            Ok(()) => {
                self.durable = self.durable.max(done.target);
                if done.losses == self.progress.losses() {
                    self.failed = None;
                }
                Ok(self.durable)
            }
            Err(error) => Err(self.lose_unsynced(&error)),
        }
    }

    /// The kernel did not take what is not written. What is written can still become durable.
    pub(crate) fn lose_unwritten(&mut self, error: &io::Error) -> Lost {
        let from = self.written;
        if let Some(active) = self.active.take() {
            let cut = if active.number == from.segment { from.offset } else { crate::format::RECORDS_AT };
            self.sealed.insert(active.number, Segment { bytes: cut, retired_at: None });
            self.unsynced.push(Unsynced { file: active.file, cut });
        }
        self.lose(from, error)
    }

    /// The disk did not take what is not durable. Its files are not synced again: a success would mean nothing.
    fn lose_unsynced(&mut self, error: &io::Error) -> Lost {
        let from = self.durable;
        let mut begun: Vec<u32> = self.sealed.split_off(&(from.segment + 1)).into_keys().collect();
        self.unsynced.clear();
        self.names_unsynced = false;
        if let Some(active) = self.active.take() {
            if active.number == from.segment {
                self.sealed.insert(active.number, Segment { bytes: from.offset, retired_at: None });
            } else {
                begun.push(active.number);
            }
        }
        write_back::mark(&*self.fs, &self.dir);
        // Best effort, and in no need of success: a start that finds these records still there gives them back, which
        // to the one who was refused is a duplicate at worst.
        for number in begun {
            self.forget_file(number);
            self.fs.remove(&segment_path(&self.dir, number)).ok();
        }
        if let Some(cut) = self.sealed.get_mut(&from.segment) {
            cut.bytes = from.offset;
            if let Ok(file) = self.fs.open(&segment_path(&self.dir, from.segment)) {
                file.set_len(u64::from(from.offset)).ok();
            }
        }
        self.lose(from, error)
    }

    fn lose(&mut self, from: Position, error: &io::Error) -> Lost {
        let lost = Lost { from, to: self.end, reason: error.to_string() };
        self.tail.cut(from);
        // The promise was made by a state that knew of what is lost now.
        for segment in self.sealed.values_mut() {
            segment.retired_at = segment.retired_at.filter(|at| *at <= from);
        }
        self.end = from;
        self.written = from;
        self.failed = Some(lost.to_string());
        self.progress.losses.fetch_add(1, Ordering::AcqRel);
        lost
    }
}
