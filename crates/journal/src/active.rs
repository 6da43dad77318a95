//! The segment that is being written.
//!
//! Its file grows in steps of zeros, written ahead of the records. A sync of records that lie in space which is already
//! allocated, zeroed and synced carries no metadata; only the first sync behind a step does. What `examples/sync_cost`
//! says (ext4 on a virtio disk, 2 shared cores, the quietest of several runs; a write and its fdatasync, p50 / p99 in
//! ms, and ms for 8 MiB of 1 KiB commits, else 32 MiB, steps included):
//!
//! | commit | plain growth | `fallocate` in steps | zeros in steps of 512 KiB |
//! |---|---|---|---|
//! | 1 KiB | 0.28 / 0.63, 2456 | 0.20 / 0.76, 2056 | 0.19 / 0.41, 1610 |
//! | 16 KiB | 0.33 / 0.60, 680 | 0.43 / 1.56, 963 | 0.19 / 1.00, 464 |
//! | 64 KiB | 0.37 / 0.57, 192 | 0.45 / 0.65, 236 | 0.19 / 1.00, 148 |
//! | 256 KiB | 0.53 / 1.02, 73 | 0.57 / 0.89, 77 | 0.51 / 1.16, 72 |
//!
//! Rejected: a spare segment of zeros. It costs the same writes, a whole segment of space, and a thread to make it;
//! recycling retired segments saves the zeros, but then an old record stands where a new one was not yet written.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::contents::segment_path;
use crate::file_system::{File, FileSystem, write_all};
use crate::format::{self, HEAD_BYTES, RECORDS_AT, SECOND_HEAD_AT, Salt};
use crate::position::Position;
use crate::room::Room;

/// Bytes by which a file grows; a small segment's is an eighth of it.
const STEP_BYTES: u32 = 512 * 1024;

/// Space that ordinary records leave allocated for reserved ones; a small segment's is an eighth of it.
const KEPT_BYTES: u32 = 64 * 1024;

/// How far segments grow, and how they get there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Growth {
    /// Bytes at which a segment is full.
    pub(crate) segment_bytes: u32,
    step: u32,
    /// Left for reserved records by ordinary ones.
    pub(crate) kept: u32,
}

impl Growth {
    pub(crate) fn new(segment_bytes: u32) -> Growth {
        let part = segment_bytes / 8;
        Growth { segment_bytes, step: STEP_BYTES.min(part), kept: KEPT_BYTES.min(part) }
    }
}

#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) number: u32,
    pub(crate) salt: Salt,
    follows: Position,
    pub(crate) file: Arc<dyn File>,
    /// End of what is appended.
    pub(crate) end: u32,
    /// End of the file.
    allocated: u32,
    growth: Growth,
}

impl Active {
    /// Makes the file of segment `number` behind the log that ends at `follows`, with room for a record of `bytes`. Nothing is synced.
    ///
    /// The head comes last, since it says that the log before ends where it does now: only when it is in the file must
    /// nothing be appended there any more, and so a full disk, which shows before it, leaves the segment before in use.
    pub(crate) fn create(
        fs: &dyn FileSystem,
        dir: &Path,
        (number, follows): (u32, Position),
        growth: Growth,
        bytes: u32,
        room: &Room,
    ) -> io::Result<Active> {
        let salt = Salt::new(fs.random());
        let path = segment_path(dir, number);
        let file = fs.create(&path)?;
        let mut active = Active { number, salt, follows, file, end: RECORDS_AT, allocated: 0, growth };
        let made = active.allocate(bytes.saturating_add(growth.kept), room).and_then(|()| {
            // Whatever stops it here is no want of space.
            active.write_front().map_err(|error| io::Error::other(error.to_string()))
        });
        if made.is_err() {
            // Best effort: a file of zeros is taken for what it is by the next start.
            fs.remove(&path).ok();
        }
        made.map(|()| active)
    }

    fn write_front(&self) -> io::Result<()> {
        let head = format::segment_head(self.number, self.salt, self.follows);
        let mut front = [0; RECORDS_AT as usize];
        for at in [0, SECOND_HEAD_AT as usize] {
            front[at..at + HEAD_BYTES].copy_from_slice(&head);
        }
        write_all(&*self.file, &front, 0)
    }

    pub(crate) fn end_position(&self) -> Position {
        Position { segment: self.number, offset: self.end }
    }

    /// `bytes` more would make the segment larger than it should be, and it has a record already.
    pub(crate) fn is_full_for(&self, bytes: u32) -> bool {
        self.end.saturating_add(bytes) > self.growth.segment_bytes && self.end > RECORDS_AT
    }

    /// Bytes behind the end that are in the file; negative: so many wait in memory for space.
    pub(crate) fn allocated_ahead(&self) -> i64 {
        i64::from(self.allocated) - i64::from(self.end)
    }

    /// End of the file: a write up to here cannot fail for want of space.
    pub(crate) fn allocated(&self) -> u32 {
        self.allocated
    }

    /// Makes room for `bytes` behind the end, and for some more of them.
    pub(crate) fn allocate(&mut self, bytes: u32, room: &Room) -> io::Result<()> {
        let needed = self.end.saturating_add(bytes);
        let ahead = self.allocated.saturating_add(self.growth.step).min(self.growth.segment_bytes);
        self.allocate_until(needed.max(ahead), room)
    }

    /// Makes room up to the end, and not a byte more.
    pub(crate) fn allocate_to_end(&mut self, room: &Room) -> io::Result<()> {
        self.allocate_until(self.end, room)
    }

    /// Gives the disk what is allocated behind the end. Best effort.
    pub(crate) fn give_back_ahead(&mut self, room: &Room) {
        let ahead = self.allocated.saturating_sub(self.end);
        if ahead > 0 && self.file.set_len(u64::from(self.end)).is_ok() {
            self.allocated = self.end;
            room.gave_back(u64::from(ahead));
        }
    }

    fn allocate_until(&mut self, until: u32, room: &Room) -> io::Result<()> {
        let missing = until.saturating_sub(self.allocated);
        if missing > 0 {
            self.file.allocate(u64::from(self.allocated), u64::from(missing))?;
            self.allocated = until;
            room.took(u64::from(missing));
        }
        Ok(())
    }
}
