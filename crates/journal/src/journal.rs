//! Appending and writing.
//!
//! Invariants:
//! - `durable <= written <= end`, all three ends of records; what is not written lies in the tail and in the active
//!   segment.
//! - Numbers of segments only grow, also past segments that could not be begun, so positions are never used twice.
//! - A segment of an earlier start is never appended to: what a torn tail left behind cannot meet new records.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::active::{Active, Growth};
use crate::aside::Aside;
use crate::checkpoint::Kept;
use crate::error::{AppendError, Lost, WriteError, is_full};
use crate::file_system::{FileSystem, Lock};
use crate::format::RECORD_HEAD_BYTES;
use crate::position::Position;
use crate::read::OpenFiles;
use crate::room::{Room, Space};
use crate::spare::{Left, Spare};
use crate::sync::{Progress, Unsynced};
use crate::tail::Tail;

/// Bytes that an append lets wait for [`Journal::write`] before it calls it itself.
const UNWRITTEN_BYTES_MAX: usize = 4 << 20;

/// Bytes of reserved records that may wait in memory while there is no space at all.
const WAITING_BYTES_MAX: i64 = 1 << 20;

/// What a record may cost when space is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Refused once only the reserve is left.
    Ordinary,
    /// May use the reserve, and waits in memory (up to 1 MiB of them) when there is no space at all: what makes
    /// records superfluous must go on.
    Reserved,
}

/// A segment, from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentState {
    /// Its number.
    pub number: u32,
    /// Bytes of its file that records use, its head included.
    pub bytes: u32,
    /// Nothing is appended to it any more.
    pub sealed: bool,
    /// Nobody needs it; its file waits for the checkpoints that allow to unlink it.
    pub retired: bool,
}

/// A segment that is sealed, or the entry of the active one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    /// End of its records; of a segment behind the checkpoint that nobody has read, the end of its file.
    pub(crate) bytes: u32,
    /// The end of the log when it was retired.
    pub(crate) retired_at: Option<Position>,
}

/// An open log. Its methods are for one thread; the jobs that it gives out run anywhere.
#[derive(Debug)]
pub struct Journal {
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) dir: PathBuf,
    pub(crate) growth: Growth,
    pub(crate) record_bytes_max: u32,
    pub(crate) room: Room,
    pub(crate) spare: Arc<Spare>,
    pub(crate) tail: Tail,
    pub(crate) active: Option<Active>,
    /// The sealed ones.
    pub(crate) sealed: BTreeMap<u32, Segment>,
    pub(crate) next_number: u32,
    pub(crate) end: Position,
    pub(crate) written: Position,
    pub(crate) durable: Position,
    /// Sealed, or lost in part, since the last sync.
    pub(crate) unsynced: Vec<Unsynced>,
    /// A segment was begun since the last sync.
    pub(crate) names_unsynced: bool,
    pub(crate) syncing: bool,
    pub(crate) progress: Arc<Progress>,
    /// Why the disk cannot be trusted just now.
    pub(crate) failed: Option<String>,
    pub(crate) kept: Kept,
    /// Bytes appended since the start, those replayed at it included.
    pub(crate) appended_bytes: u64,
    pub(crate) files: RefCell<OpenFiles>,
    pub(crate) aside: Aside,
    /// Held, never used.
    pub(crate) _lock: Box<dyn Lock>,
}

impl Journal {
    /// Appends one record, the `parts` in a row, in memory. Its space is allocated before it is taken.
    ///
    /// # Errors
    /// The record is refused, and the log as it was; except [`AppendError::Lost`], which is about earlier records too.
    pub fn append(&mut self, parts: &[&[u8]], class: Class) -> Result<Position, AppendError> {
        let length = self.length_of(parts)?;
        let bytes = RECORD_HEAD_BYTES as u32 + length;
        if class == Class::Ordinary && self.room.is_full() {
            return Err(self.room.full());
        }
        if self.tail.unwritten() > UNWRITTEN_BYTES_MAX {
            self.flush()?;
        }
        let kept = if class == Class::Ordinary { self.growth.kept } else { 0 };
        let fits = self.active.as_ref().is_some_and(|active| {
            !active.is_full_for(bytes) && active.allocated_ahead() >= i64::from(bytes.saturating_add(kept))
        });
        if !fits {
            self.make_room(bytes, class)?;
        }
        let Some(active) = self.active.as_mut() else { return Err(self.room.full()) };
        let at = active.end_position();
        self.tail.push(at, active.salt, length, parts);
        active.end += bytes;
        self.end = active.end_position();
        self.appended_bytes += u64::from(bytes);
        Ok(at)
    }

    fn length_of(&self, parts: &[&[u8]]) -> Result<u32, AppendError> {
        let bytes: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let max = self.record_bytes_max;
        u32::try_from(bytes).ok().filter(|length| *length <= max).ok_or(AppendError::TooLarge { bytes, max })
    }

    /// Room for a record of `bytes`, on disk; for a reserved one, in memory at least.
    fn make_room(&mut self, bytes: u32, class: Class) -> Result<(), AppendError> {
        let may_wait = class == Class::Reserved
            && self
                .active
                .as_ref()
                .is_some_and(|active| i64::from(bytes) - active.allocated_ahead() <= WAITING_BYTES_MAX);
        if may_wait && self.room.is_nearly_used_up() {
            return Ok(());
        }
        match self.make_room_on_disk(bytes, class) {
            Err(AppendError::Full { .. }) if may_wait => Ok(()),
            done => done,
        }
    }

    fn make_room_on_disk(&mut self, bytes: u32, class: Class) -> Result<(), AppendError> {
        let kept = if class == Class::Ordinary { self.growth.kept } else { 0 };
        if class == Class::Ordinary {
            // A fast disk is full before its owner asks the next time, above all one that others fill, too.
            self.space();
        }
        match self.active.as_mut().filter(|active| !active.is_full_for(bytes)) {
            Some(active) => match active.allocate(bytes.saturating_add(kept), &self.room) {
                Ok(()) => Ok(()),
                Err(error) if is_full(&error) => Err(self.is_used_up()),
                // This file cannot grow any more; another one may.
                Err(_) => self.begin_segment(bytes),
            },
            None => self.begin_segment(bytes),
        }
    }

    /// Seals the active segment and begins the next, with room for a record of `bytes`.
    pub(crate) fn begin_segment(&mut self, bytes: u32) -> Result<(), AppendError> {
        match self.write() {
            Ok(()) => {}
            Err(WriteError::Full) => return Err(self.room.full()),
            Err(WriteError::Lost(lost)) => return Err(lost.into()),
        }
        let number = self.next_number;
        self.next_number += 1;
        match Active::create(&*self.fs, &self.dir, (number, self.end), self.growth, bytes, &self.room) {
            Ok(active) => {
                self.seal_active();
                self.active = Some(active);
                self.names_unsynced = true;
                Ok(())
            }
            Err(error) if is_full(&error) => Err(self.is_used_up()),
            Err(error) => {
                // Its head may be there, and says that nothing follows here.
                self.seal_active();
                self.failed = Some(error.to_string());
                Err(AppendError::Io { reason: error.to_string() })
            }
        }
    }

    fn seal_active(&mut self) {
        if let Some(active) = self.active.take() {
            self.room.gave_back(active.allocated_ahead().unsigned_abs());
            self.sealed.insert(active.number, Segment { bytes: active.end, retired_at: None });
            self.unsynced.push(Unsynced { file: active.file, cut: active.end });
        }
    }

    fn is_used_up(&self) -> AppendError {
        self.room.is_used_up();
        self.room.full()
    }

    /// Hands everything appended to the kernel, in one write unless it lies in several chunks of memory.
    ///
    /// # Errors
    /// [`WriteError::Full`] leaves the rest in memory for the next call; what is [`Lost`] is lost.
    pub fn write(&mut self) -> Result<(), WriteError> {
        self.write_leaving(Left::Records)
    }

    /// The same, with what is kept in spare down to what must be `left` of it.
    pub(crate) fn write_leaving(&mut self, left: Left) -> Result<(), WriteError> {
        match self.write_rest(left) {
            Ok(()) => {
                self.written = self.end;
                Ok(())
            }
            Err(error) => {
                self.written = self.tail.whole_until(self.written_in_active());
                if is_full(&error) {
                    self.room.is_used_up();
                    return Err(WriteError::Full);
                }
                Err(self.lose_unwritten(&error).into())
            }
        }
    }

    /// Where to look for whole records from: the end of the log before the active segment is not in it.
    fn written_in_active(&self) -> Position {
        match &self.active {
            Some(active) if active.number != self.written.segment => {
                Position { segment: active.number, offset: crate::format::RECORDS_AT }
            }
            _ => self.written,
        }
    }

    fn write_rest(&mut self, left: Left) -> io::Result<()> {
        let Some(active) = self.active.as_mut() else { return Ok(()) };
        let mut no_space = None;
        if active.allocated_ahead() < 0 {
            no_space = active.allocate_to_end(&self.room).err();
            let missing = active.allocated_ahead().unsigned_abs();
            if no_space.as_ref().is_some_and(is_full) && self.spare.give(missing, left) {
                no_space = active.allocate_to_end(&self.room).err();
            }
        }
        while let Some((offset, bytes)) = self.tail.next_unwritten() {
            let until = (active.allocated() - offset.min(active.allocated())) as usize;
            let bytes = bytes.get(..until).unwrap_or(bytes);
            if bytes.is_empty() {
                return Err(no_space.unwrap_or_else(|| io::ErrorKind::StorageFull.into()));
            }
            match active.file.write_at(bytes, u64::from(offset)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.tail.mark_written(written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes what there is space for; what is left goes with a later write.
    pub(crate) fn flush(&mut self) -> Result<(), Lost> {
        match self.write() {
            Ok(()) | Err(WriteError::Full) => Ok(()),
            Err(WriteError::Lost(lost)) => Err(lost),
        }
    }

    /// The end of what is appended.
    #[must_use]
    pub fn end(&self) -> Position {
        self.end
    }

    /// The end of what the kernel has: it outlives this process, but not the machine.
    #[must_use]
    pub fn written(&self) -> Position {
        self.written
    }

    /// The end of what is on disk. Behind a loss it jumps past what was lost, so refuse who waits for that first.
    #[must_use]
    pub fn durable(&self) -> Position {
        self.durable
    }

    /// Every segment, in the order of the log.
    pub fn segments(&self) -> impl Iterator<Item = SegmentState> + '_ {
        let sealed = self.sealed.iter().map(|(number, segment)| SegmentState {
            number: *number,
            bytes: segment.bytes,
            sealed: true,
            retired: segment.retired_at.is_some(),
        });
        let active = self.active.iter().map(|active| SegmentState {
            number: active.number,
            bytes: active.end,
            sealed: false,
            retired: false,
        });
        sealed.chain(active)
    }

    /// Asks the file system how much is left. To be called once a second: appends go by this answer and by what they
    /// took since, so it is also how the journal learns that there is space again. (While it takes space itself it asks, too.)
    pub fn space(&self) -> Space {
        self.room.took(self.spare.tend(self.room.ask().free));
        self.room.last()
    }

    /// Whether ordinary records are taken and stored.
    ///
    /// # Errors
    /// Why not. After a failure of the disk it is well again once a sync has succeeded, and
    /// [`Journal::begin_sync`] tries by itself.
    pub fn health(&self) -> Result<(), String> {
        match &self.failed {
            Some(reason) => Err(reason.clone()),
            None if self.room.is_full() => Err(self.room.full().to_string()),
            None => Ok(()),
        }
    }
}
