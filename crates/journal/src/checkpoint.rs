//! Checkpoints: a state at a position, so that a start need not replay what lies before it.
//!
//! A checkpoint is written aside, synced, and only then given its name. It must not be ahead of the log: a state that
//! knows of records which a power cut then takes would know of messages that nobody has. So its job does nothing unless
//! the log is durable up to what it covers; it does not sync the log itself (`sync` says why).
//!
//! The newest two are kept, and a segment is unlinked only when both of them can do without it: were the newest damaged,
//! the older one and the records behind it still make the same state.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::contents::{checkpoint_path, segment_path, unfinished_path};
use crate::error::{CheckpointError, Lost, WriteError, is_full};
use crate::file_system::{FileSystem, write_all};
use crate::format::{self, HEAD_BYTES, STATE_AT};
use crate::journal::Journal;
use crate::position::Position;
use crate::spare::{Left, Spare};
use crate::sync::Progress;

/// A checkpoint on disk that is known to be whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checkpoint {
    pub(crate) sequence: u32,
    pub(crate) covers: Position,
}

/// The checkpoints on disk, and what was appended since the newest.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) newest: Option<Checkpoint>,
    /// Those before it; the next checkpoint removes them, and so two are kept.
    pub(crate) older: Vec<u32>,
    /// `appended_bytes` as the newest was begun.
    pub(crate) appended_bytes: u64,
    pub(crate) next_sequence: u32,
    pub(crate) under_way: bool,
}

/// Writes a checkpoint. To be run once the log is durable up to [`CheckpointJob::covers`].
#[derive(Debug)]
#[must_use = "there is no checkpoint before it is run and handed back to `end_checkpoint`"]
pub struct CheckpointJob {
    fs: Arc<dyn FileSystem>,
    dir: PathBuf,
    this: Checkpoint,
    /// The log must be durable up to here.
    end: Position,
    state: Vec<u8>,
    appended_bytes: u64,
    /// What this one makes superfluous.
    old_checkpoints: Vec<u32>,
    old_segments: Vec<u32>,
    losses: u32,
    progress: Arc<Progress>,
    spare: Arc<Spare>,
}

/// What became of a [`CheckpointJob`].
#[derive(Debug)]
#[must_use = "hand it to `end_checkpoint`"]
pub struct CheckpointDone {
    this: Checkpoint,
    appended_bytes: u64,
    /// Segments that are unlinked.
    unlinked: Vec<u32>,
    /// Checkpoints that could not be removed.
    left: Vec<u32>,
    result: Result<(), CheckpointError>,
}

impl CheckpointJob {
    /// The end of the log as the state knows it.
    #[must_use]
    pub fn covers(&self) -> Position {
        self.end
    }

    /// Writes, syncs, names, and unlinks what nobody needs any more. Blocks for as long as the disk takes.
    pub fn run(self) -> CheckpointDone {
        let result = self.write();
        let (mut unlinked, mut left) = (Vec::new(), Vec::new());
        if result.is_ok() {
            unlinked = self.old_segments;
            unlinked.retain(|number| is_removed(&*self.fs, &segment_path(&self.dir, *number)));
            left = self.old_checkpoints;
            left.retain(|sequence| !is_removed(&*self.fs, &checkpoint_path(&self.dir, *sequence)));
        }
        CheckpointDone { this: self.this, appended_bytes: self.appended_bytes, unlinked, left, result }
    }

    fn write(&self) -> Result<(), CheckpointError> {
        self.check_log()?;
        let unfinished = unfinished_path(&self.dir);
        let written = self.write_aside_or_spare(&unfinished).map_err(|error| failed(&error)).and_then(|()| {
            // Records may have been lost while it was written, and it knows of them.
            self.check_log()?;
            let path = checkpoint_path(&self.dir, self.this.sequence);
            self.fs.rename(&unfinished, &path).map_err(|error| failed(&error))
        });
        if written.is_err() {
            self.fs.remove(&unfinished).ok();
            return written;
        }
        self.fs.sync_dir(&self.dir).map_err(|error| failed(&error))
    }

    fn check_log(&self) -> Result<(), CheckpointError> {
        let (covers, durable) = (self.end, self.progress.durable());
        let is_whole = durable >= covers && self.progress.losses() == self.losses;
        if is_whole { Ok(()) } else { Err(CheckpointError::NotDurable { covers, durable }) }
    }

    /// A full disk has what is kept for this.
    fn write_aside_or_spare(&self, path: &Path) -> io::Result<()> {
        match self.write_aside(path) {
            Err(error) if is_full(&error) => {
                // The half that is there is written over.
                let wanted = STATE_AT + self.state.len() as u64;
                if self.spare.give(wanted, Left::AtLeast(0)) { self.write_aside(path) } else { Err(error) }
            }
            done => done,
        }
    }

    fn write_aside(&self, path: &Path) -> io::Result<()> {
        let file = self.fs.create(path)?;
        let mut head = [0; STATE_AT as usize];
        head[..HEAD_BYTES].copy_from_slice(&format::checkpoint_head(self.this.covers, &self.state));
        write_all(&*file, &head, 0)?;
        write_all(&*file, &self.state, STATE_AT)?;
        file.sync()
    }
}

fn failed(error: &io::Error) -> CheckpointError {
    CheckpointError::Io { reason: error.to_string() }
}

/// Gone now, whoever took it.
fn is_removed(fs: &dyn FileSystem, path: &Path) -> bool {
    fs.remove(path).map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |()| true)
}

impl Journal {
    /// Begins a checkpoint of `state`, which is what all records that are appended now make. Everything appended is
    /// handed to the kernel; the job may be run once it is durable, for instance behind the next [`crate::SyncJob`] on the
    /// same thread.
    ///
    /// # Errors
    /// One is under way, or the log could not be written.
    pub fn begin_checkpoint(&mut self, state: Vec<u8>) -> Result<CheckpointJob, CheckpointError> {
        if self.kept.under_way {
            return Err(CheckpointError::UnderWay);
        }
        let written = match self.write_leaving(Left::Checkpoints) {
            // A checkpoint that fits, and a little, is worth more than room for the next one.
            Err(WriteError::Full) => {
                self.write_leaving(Left::AtLeast(STATE_AT + state.len() as u64 + (16 << 10)))
            }
            done => done,
        };
        written.map_err(CheckpointError::Write)?;
        self.find_room(STATE_AT + state.len() as u64);
        self.spare.expect_checkpoints(state.len() as u64);
        let this = Checkpoint { sequence: self.kept.next_sequence, covers: self.next_append() };
        self.kept.next_sequence += 1;
        self.kept.under_way = true;
        Ok(CheckpointJob {
            fs: Arc::clone(&self.fs),
            dir: self.dir.clone(),
            this,
            end: self.end,
            state,
            appended_bytes: self.appended_bytes,
            old_checkpoints: self.kept.older.clone(),
            old_segments: self.free_segments(),
            losses: self.progress.losses(),
            progress: Arc::clone(&self.progress),
            spare: Arc::clone(&self.spare),
        })
    }

    /// Where neither disk nor spare have room for a checkpoint, what the log has allocated ahead is worth more to it.
    fn find_room(&mut self, bytes: u64) {
        if self.room.last().free < bytes
            && !self.spare.has(bytes)
            && let Some(active) = &mut self.active
        {
            active.give_back_ahead(&self.room);
        }
    }

    /// Gives up the records that wait in memory, if there still is no space for them. For a state that knows what they said: its
    /// checkpoint does without them, and it is the checkpoint that makes room. `None`: nothing waits any more.
    pub fn give_up_waiting(&mut self) -> Option<Lost> {
        match self.write() {
            Ok(()) => None,
            Err(WriteError::Full) => Some(self.lose_unwritten(&io::ErrorKind::StorageFull.into())),
            Err(WriteError::Lost(lost)) => Some(lost),
        }
    }

    /// Where a start goes on reading. Without an active segment that is the next one, of which there may be no file
    /// yet: behind the end of the last one may still lie what was lost, and a start that gave it back would give it to a
    /// state that has forgotten it.
    fn next_append(&self) -> Position {
        match self.active {
            Some(_) => self.end,
            None => Position { segment: self.next_number, offset: 0 },
        }
    }

    /// Takes the result of a job back: the position that the newest checkpoint covers now.
    ///
    /// # Errors
    /// There is no new checkpoint. One may still turn up at the next start, and be right.
    pub fn end_checkpoint(&mut self, done: CheckpointDone) -> Result<Position, CheckpointError> {
        self.kept.under_way = false;
        if let Err(error) = done.result {
            // It may have its name already, and stays only until the next one.
            self.kept.older.push(done.this.sequence);
            return Err(error);
        }
        for number in done.unlinked {
            self.sealed.remove(&number);
            self.forget_file(number);
        }
        self.kept.older = done.left;
        self.kept.older.extend(self.kept.newest.replace(done.this).map(|before| before.sequence));
        self.kept.appended_bytes = done.appended_bytes;
        Ok(done.this.covers)
    }

    /// Bytes of records that a start would have to replay.
    #[must_use]
    pub fn bytes_since_checkpoint(&self) -> u64 {
        self.appended_bytes - self.kept.appended_bytes
    }
}
