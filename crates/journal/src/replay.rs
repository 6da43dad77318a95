//! A start: from a directory back to the state that was acknowledged.
//!
//! 1. Lock the directory. Refuse if a newer version wrote any of it; nothing has been changed until then.
//! 2. The newest checkpoint that is whole is the state to begin with.
//! 3. Give back the records behind it, segment by segment. What is damaged is copied aside, counted and passed; what
//!    follows the last record of a segment is copied aside, unless it is zeros, and cut.
//! 4. Sync what was read, and where a sync has failed write it again before (`write_back`): a process that was killed
//!    leaves records that only the page cache has, and nothing may be acknowledged on top of them.
//!
//! Segments before the checkpoint are not read. A disk that is full is no reason not to start: what cannot be copied
//! aside stays where it is, and so does the rest of a segment that the disk cannot read just now.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::active::Growth;
use crate::aside::Aside;
use crate::checkpoint::{Checkpoint, Kept};
use crate::contents::{Contents, LOCK, checkpoint_path, segment_path, unfinished_path};
use crate::directory;
use crate::error::OpenError;
use crate::file_system::{File, FileSystem, read_up_to};
use crate::format::{self, BadHead, CheckpointHead, RECORDS_AT, STATE_AT, Salt, SegmentHead};
use crate::journal::{Journal, Segment};
use crate::position::Position;
use crate::read::OpenFiles;
use crate::room::Room;
use crate::settings::{BYTES_MAX, Settings};
use crate::spare::Spare;
use crate::sync::Progress;
use crate::tail::Tail;
use crate::walk::{Step, Walk, read_head};
use crate::write_back;

/// What a start found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// What the checkpoint covers that it began with.
    pub checkpoint: Option<Position>,
    /// Checkpoints that could not be used.
    pub damaged_checkpoints: u64,
    /// Segments read, those behind the checkpoint.
    pub segments: u64,
    /// Records given back.
    pub records: u64,
    /// Bytes of them, heads included.
    pub bytes: u64,
    /// Pieces of the log that are damaged, with whole records behind them.
    pub quarantined: u64,
    /// Bytes of those.
    pub quarantined_bytes: u64,
    /// Bytes behind the last record of a segment that were none, and were cut.
    pub cut_bytes: u64,
    /// Segments of which nothing can be read, since both their heads are damaged.
    pub unreadable_segments: u64,
    /// Bytes that the disk would not give.
    pub unreadable_bytes: u64,
    /// Names of the files, in the journal's directory, that hold copies of all that.
    pub set_aside: Vec<String>,
}

impl Recovery {
    /// Everything was as it should be. (A torn tail is, after a crash.)
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.damaged_checkpoints + self.quarantined + self.unreadable_segments + self.unreadable_bytes == 0
    }
}

/// A segment to read. It is opened when its turn comes: there may be more of them than a process may have files.
#[derive(Debug)]
struct Behind {
    number: u32,
    head: SegmentHead,
    from: u32,
    /// Bytes of it that count: all, or those before what was lost.
    until: u32,
}

/// The records behind the checkpoint, on their way back. It holds the journal: nothing can be appended before the state
/// is whole.
#[derive(Debug)]
pub struct Replay {
    journal: Journal,
    state: Option<Bytes>,
    behind: VecDeque<Behind>,
    walk: Option<(u32, Walk)>,
    recovery: Recovery,
    /// A sync has failed before: what is read is written again.
    unsynced: bool,
    /// The first failure to cut or sync what was read.
    failed: Option<OpenError>,
}

impl Journal {
    /// Opens the log in `dir`, and makes it if there is none.
    ///
    /// # Errors
    /// Somebody has it open, a newer program wrote it, or the file system fails. Damage is no error.
    pub fn open(fs: Arc<dyn FileSystem>, dir: &Path, settings: Settings) -> Result<Replay, OpenError> {
        directory::make(&*fs, dir).map_err(OpenError::io("making the directory", dir))?;
        let lock = fs.lock(&dir.join(LOCK)).map_err(OpenError::io("locking", dir))?;
        let lock = lock.ok_or_else(|| OpenError::InUse { dir: dir.to_owned() })?;
        let mut contents = Contents::of(&*fs, dir).map_err(OpenError::io("listing", dir))?;
        let space = fs.space(dir).map_err(OpenError::io("asking for the free space of", dir))?;
        let reserve = settings.reserve_bytes_on(space.total);
        let mut found = Found::of(&*fs, dir, &contents)?;
        found.set_damaged_aside(&*fs, dir)?;
        contents.set_aside.extend(found.recovery.set_aside.iter().cloned());
        let covers = found.checkpoint.map_or(Position::START, |checkpoint| checkpoint.covers);
        let last = contents.segments.keys().next_back().copied().unwrap_or(0).max(covers.segment);
        let sequence = contents.checkpoints.keys().next_back().copied().unwrap_or(0);
        let spare = Spare::new(Arc::clone(&fs), dir, reserve, contents.spare);
        spare.expect_checkpoints(found.state.as_ref().map_or(0, |state| state.len() as u64));
        let progress = Arc::new(Progress::default());
        progress.is_durable(covers);
        let journal = Journal {
            growth: Growth::new(settings.segment_bytes_on(space.total)),
            record_bytes_max: settings.record_bytes_max.min(BYTES_MAX),
            room: Room::new(Arc::clone(&fs), dir.to_owned(), space.total, space.free, reserve),
            spare: Arc::new(spare),
            tail: Tail::new(settings.tail_bytes),
            active: None,
            sealed: found.sealed,
            next_number: last + 1,
            end: covers,
            written: covers,
            durable: covers,
            unsynced: Vec::new(),
            names_unsynced: contents.unsynced,
            syncing: false,
            progress,
            failed: None,
            kept: Kept {
                newest: found.checkpoint,
                older: found.older,
                appended_bytes: 0,
                next_sequence: sequence + 1,
                under_way: false,
            },
            appended_bytes: 0,
            files: std::cell::RefCell::new(OpenFiles::default()),
            aside: Aside::new(dir, contents.set_aside),
            _lock: lock,
            fs,
            dir: dir.to_owned(),
        };
        Ok(Replay {
            journal,
            state: found.state,
            behind: found.behind,
            walk: None,
            recovery: found.recovery,
            unsynced: contents.unsynced,
            failed: None,
        })
    }
}

/// What the directory holds, judged by its heads. Finding it changes nothing.
#[derive(Default)]
struct Found {
    checkpoint: Option<Checkpoint>,
    state: Option<Bytes>,
    /// Checkpoints that the next one replaces.
    older: Vec<u32>,
    sealed: BTreeMap<u32, Segment>,
    behind: VecDeque<Behind>,
    /// Files to give another name, and those names.
    damaged: Vec<(PathBuf, String)>,
    /// Files with nothing in them.
    empty: Vec<PathBuf>,
    recovery: Recovery,
}

impl Found {
    fn of(fs: &dyn FileSystem, dir: &Path, contents: &Contents) -> Result<Found, OpenError> {
        let mut found = Found::default();
        for sequence in contents.checkpoints.keys().rev() {
            found.look_at_checkpoint(fs, dir, *sequence)?;
        }
        let covers = found.checkpoint.map_or(Position::START, |checkpoint| checkpoint.covers);
        found.recovery.checkpoint = found.checkpoint.map(|checkpoint| checkpoint.covers);
        for (number, bytes) in &contents.segments {
            let bytes = u32::try_from(*bytes).unwrap_or(u32::MAX);
            if *number < covers.segment {
                found.sealed.insert(*number, Segment { bytes, retired_at: None });
            } else {
                let from = if *number == covers.segment { covers.offset.max(RECORDS_AT) } else { RECORDS_AT };
                found.look_at_segment(fs, dir, *number, bytes, from)?;
            }
        }
        found.void_what_was_lost(dir, covers);
        if contents.unfinished {
            found.empty.push(unfinished_path(dir));
        }
        Ok(found)
    }

    fn look_at_checkpoint(
        &mut self,
        fs: &dyn FileSystem,
        dir: &Path,
        sequence: u32,
    ) -> Result<(), OpenError> {
        if self.checkpoint.is_some() {
            self.older.push(sequence);
            return Ok(());
        }
        let path = checkpoint_path(dir, sequence);
        let read = fs.open(&path).and_then(|file| read_checkpoint(&*file));
        match read.map_err(OpenError::io("reading", &path))? {
            Ok((head, state)) => {
                self.checkpoint = Some(Checkpoint { sequence, covers: head.covers });
                self.state = Some(state);
            }
            Err(BadHead::Newer(version)) => return Err(newer(path, version)),
            Err(BadHead::Damaged) => {
                self.recovery.damaged_checkpoints += 1;
                self.damaged.push((path, format!("checkpoint-{sequence:08x}.damaged")));
            }
        }
        Ok(())
    }

    fn look_at_segment(
        &mut self,
        fs: &dyn FileSystem,
        dir: &Path,
        number: u32,
        file_bytes: u32,
        from: u32,
    ) -> Result<(), OpenError> {
        let path = segment_path(dir, number);
        let file = fs.open(&path).map_err(OpenError::io("opening", &path))?;
        match read_head(&*file, number).map_err(OpenError::io("reading", &path))? {
            Ok(head) => self.behind.push_back(Behind { number, head, from, until: file_bytes }),
            Err(BadHead::Newer(version)) => return Err(newer(path, version)),
            // Its head is synced with its first records, so nothing was acknowledged in a file of zeros.
            Err(BadHead::Damaged) if is_zeros(file, file_bytes) => self.empty.push(path),
            Err(BadHead::Damaged) => {
                self.recovery.unreadable_segments += 1;
                self.damaged.push((path, format!("segment-{number:08x}.damaged")));
            }
        }
        Ok(())
    }

    /// Each segment ends, at the latest, where the next ones say that the log ended as they were begun.
    fn void_what_was_lost(&mut self, dir: &Path, covers: Position) {
        let mut end = Position { segment: u32::MAX, offset: u32::MAX };
        for behind in self.behind.iter_mut().rev() {
            if end.segment <= behind.number {
                let until = if end.segment == behind.number { end.offset } else { 0 };
                behind.until = behind.until.min(until);
            }
            end = end.min(behind.head.follows);
        }
        let is_void = |behind: &Behind| behind.until <= RECORDS_AT && behind.number > covers.segment;
        self.empty.extend(self.behind.iter().filter(|it| is_void(it)).map(|it| segment_path(dir, it.number)));
        self.behind.retain(|behind| !is_void(behind));
    }

    fn set_damaged_aside(&mut self, fs: &dyn FileSystem, dir: &Path) -> Result<(), OpenError> {
        for (path, name) in self.damaged.drain(..) {
            fs.rename(&path, &dir.join(&name)).map_err(OpenError::io("setting aside", &path))?;
            self.recovery.set_aside.push(name);
        }
        for path in self.empty.drain(..) {
            fs.remove(&path).map_err(OpenError::io("removing", &path))?;
        }
        Ok(())
    }
}

fn newer(file: PathBuf, found: u32) -> OpenError {
    OpenError::NewerVersion { file, found, known: format::VERSION }
}

fn read_checkpoint(file: &dyn File) -> std::io::Result<Result<(CheckpointHead, Bytes), BadHead>> {
    let mut bytes = vec![0; usize::try_from(file.size()?).unwrap_or(0)];
    let have = match read_up_to(file, &mut bytes, 0) {
        Ok(have) => have,
        // A block that the disk cannot read is damage; the checkpoint before this one may do.
        Err(_) => return Ok(Err(BadHead::Damaged)),
    };
    bytes.truncate(have);
    let bytes = Bytes::from(bytes);
    Ok(format::parse_checkpoint_head(&bytes).and_then(|head| {
        let state = bytes.get(STATE_AT as usize..).ok_or(BadHead::Damaged)?;
        let whole = format::is_state(&head, state);
        if whole { Ok((head, bytes.slice(STATE_AT as usize..))) } else { Err(BadHead::Damaged) }
    }))
}

fn is_zeros(file: Arc<dyn File>, file_bytes: u32) -> bool {
    // No salt fits zeros, so the walk ends where it begins, and says where the last byte is that is none.
    let mut walk = Walk::new(file, Salt::new(0), 0, file_bytes);
    walk.step() == Step::End { at: 0, rest_until: 0 } && walk.unreadable == 0
}

impl Replay {
    /// The state to begin with.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Bytes> {
        self.state.clone()
    }

    /// The next record behind the checkpoint. Its body is a slice of what was read with it, up to 256 KiB: copy what is
    /// kept.
    #[expect(
        clippy::should_implement_trait,
        reason = "it is followed by `finish`, which an iterator has not"
    )]
    pub fn next(&mut self) -> Option<(Position, Bytes)> {
        loop {
            let Some((number, walk)) = &mut self.walk else {
                let next = self.behind.pop_front()?;
                self.begin_segment(next);
                continue;
            };
            let segment = *number;
            match walk.step() {
                Step::Record(offset, body) => {
                    self.recovery.records += 1;
                    self.recovery.bytes += format::record_bytes(body.len() as u32);
                    return Some((Position { segment, offset }, body));
                }
                Step::Damaged { from, to } => {
                    self.recovery.quarantined += 1;
                    self.recovery.quarantined_bytes += u64::from(to - from);
                    self.set_aside(segment, (from, to), "damaged");
                }
                Step::End { at, rest_until } => self.end_segment(segment, at, rest_until),
            }
        }
    }

    fn begin_segment(&mut self, next: Behind) {
        let path = segment_path(&self.journal.dir, next.number);
        match self.journal.fs.open(&path) {
            Ok(file) => {
                self.recovery.segments += 1;
                self.walk = Some((next.number, Walk::new(file, next.head.salt, next.from, next.until)));
            }
            Err(error) => self.note(Err(OpenError::io("opening", &path)(error))),
        }
    }

    /// Copies bytes of the segment that is being walked aside. Whether they are there, and may be cut.
    fn set_aside(&mut self, segment: u32, (from, to): (u32, u32), why: &str) -> bool {
        let Some((_, walk)) = &self.walk else { return false };
        let name = format!("{segment:08x}-{from}.{why}");
        let range = (u64::from(from), u64::from(to));
        let copied = self.journal.aside.copy(&*self.journal.fs, &**walk.file(), range, name);
        match copied {
            Ok(Some(name)) => {
                self.recovery.set_aside.push(name);
                true
            }
            Ok(None) | Err(_) => false,
        }
    }

    fn end_segment(&mut self, number: u32, at: u32, rest_until: u32) {
        let torn = rest_until > at;
        let is_aside = !torn || self.set_aside(number, (at, rest_until), "torn");
        let Some((_, walk)) = self.walk.take() else { return };
        // What the disk cannot read today it may read tomorrow, and what has no copy is not cut.
        let may_cut = is_aside && walk.unreadable == 0;
        // What stays counts as the segment's: the next one says that it follows this end, and the next start gives back
        // nothing behind it.
        let end = if may_cut { at } else { walk.end().max(at) };
        self.recovery.unreadable_bytes += walk.unreadable;
        self.recovery.cut_bytes += if may_cut { u64::from(rest_until - at) } else { 0 };
        let path = segment_path(&self.journal.dir, number);
        let covers = self.journal.durable;
        if at == RECORDS_AT && number > covers.segment && may_cut {
            let removed = self.journal.fs.remove(&path);
            self.note(removed.map_err(OpenError::io("removing", &path)));
            return;
        }
        if may_cut && walk.file().size().is_ok_and(|bytes| bytes > u64::from(at)) {
            self.note(walk.file().set_len(u64::from(at)).map_err(OpenError::io("cutting", &path)));
        }
        if self.unsynced {
            let wrote = write_back::write_back(&**walk.file(), u64::from(end));
            self.note(wrote.map_err(OpenError::io("writing again", &path)));
        }
        let synced = walk.file().sync();
        if synced.is_err() {
            write_back::mark(&*self.journal.fs, &self.journal.dir);
        }
        self.note(synced.map_err(OpenError::io("syncing", &path)));
        self.journal.sealed.insert(number, Segment { bytes: end, retired_at: None });
        self.journal.end = self.journal.end.max(Position { segment: number, offset: end });
    }

    fn note(&mut self, done: Result<(), OpenError>) {
        if let Err(error) = done {
            self.failed.get_or_insert(error);
        }
    }

    /// What was found so far.
    #[must_use]
    pub fn report(&self) -> &Recovery {
        &self.recovery
    }

    /// Reads what is left, makes durable what was given back, and opens the log for appending.
    ///
    /// # Errors
    /// What was given back could not be made durable.
    pub fn finish(mut self) -> Result<(Journal, Recovery), OpenError> {
        while self.next().is_some() {}
        if let Some(error) = self.failed {
            return Err(error);
        }
        let mut journal = self.journal;
        journal.fs.sync_dir(&journal.dir).map_err(OpenError::io("syncing", &journal.dir))?;
        write_back::unmark(&*journal.fs, &journal.dir);
        journal.written = journal.end;
        journal.durable = journal.end;
        journal.progress.is_durable(journal.end);
        journal.appended_bytes = self.recovery.bytes;
        Ok((journal, self.recovery))
    }
}
