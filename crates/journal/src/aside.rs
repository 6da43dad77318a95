//! What could not be read is copied aside, for people to look at, before it is cut, skipped or given up.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::ReadError;
use crate::file_system::{File, FileSystem, read_past_errors, write_all};
use crate::journal::Journal;
use crate::position::Position;
use crate::walk::{Step, Walk};

/// Copies in one directory; what comes on top is counted and not copied.
const COPIES_MAX: usize = 64;

/// Bytes copied at once.
const PIECE_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Aside {
    dir: PathBuf,
    /// The copies that are there, by name.
    copies: BTreeSet<String>,
}

impl Aside {
    pub(crate) fn new(dir: &Path, copies: BTreeSet<String>) -> Aside {
        Aside { dir: dir.to_owned(), copies }
    }

    /// Copies bytes `from..to` of `file` to a file `name`, durably, in place of one of that name. The name comes back;
    /// `None`: there are too many.
    pub(crate) fn copy(
        &mut self,
        fs: &dyn FileSystem,
        file: &dyn File,
        range: (u64, u64),
        name: String,
    ) -> io::Result<Option<String>> {
        if self.copies.len() >= COPIES_MAX && !self.copies.contains(&name) {
            return Ok(None);
        }
        let path = self.dir.join(&name);
        let copy = fs.create(&path)?;
        let done = copy_range(file, &*copy, range).and_then(|()| fs.sync_dir(&self.dir));
        if let Err(error) = done {
            // Half a copy helps nobody, and would keep space where there is none.
            fs.remove(&path).ok();
            return Err(error);
        }
        self.copies.insert(name.clone());
        Ok(Some(name))
    }
}

fn copy_range(from_file: &dyn File, copy: &dyn File, (from, to): (u64, u64)) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let mut piece = vec![0; PIECE_BYTES.min(usize::try_from(to - at).unwrap_or(PIECE_BYTES))];
        // What the disk cannot read is zeros in the copy; the rest is there.
        read_past_errors(from_file, &mut piece, at);
        write_all(copy, &piece, at - from)?;
        at += piece.len() as u64;
    }
    copy.sync()
}

impl Journal {
    /// Copies aside what stands where [`Journal::read`] found no whole record, up to the next one. The name of the file
    /// in the journal's directory, which may be there already; `None`: nothing is left of it, or there are copies enough.
    ///
    /// # Errors
    /// Nothing of its segment can be read, or the copy could not be stored.
    pub fn set_aside(&mut self, at: Position) -> Result<Option<String>, ReadError> {
        let name = format!("{:08x}-{}.damaged", at.segment, at.offset);
        if self.aside.copies.contains(&name) {
            return Ok(Some(name));
        }
        let (file, salt) = self.open_segment(at.segment).map_err(|error| error.at(at))?;
        let end = self.records_end(at.segment);
        let to = match Walk::new(Arc::clone(&file), salt, at.offset, end).step() {
            Step::Damaged { to, .. } | Step::End { rest_until: to, .. } => to,
            Step::Record(..) => at.offset,
        };
        if to <= at.offset {
            return Ok(None);
        }
        let range = (u64::from(at.offset), u64::from(to));
        let copied = self.aside.copy(&*self.fs, &*file, range, name);
        copied.map_err(|source| ReadError::Io { at, source })
    }
}
