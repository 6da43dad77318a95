//! What a start could not read is copied aside, for people to look at, before it is cut or skipped.

use std::io;
use std::path::{Path, PathBuf};

use crate::file_system::{File, FileSystem, read_past_errors, write_all};

/// Copies in one directory; what comes on top is counted and not copied.
const COPIES_MAX: usize = 64;

/// Bytes copied at once.
const PIECE_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Aside {
    dir: PathBuf,
    copies: usize,
}

impl Aside {
    pub(crate) fn new(dir: &Path, copies: usize) -> Aside {
        Aside { dir: dir.to_owned(), copies }
    }

    /// Copies bytes `from..to` of `file` to a file `name`, durably. The name comes back; `None`: there are too many.
    pub(crate) fn copy(
        &mut self,
        fs: &dyn FileSystem,
        file: &dyn File,
        range: (u64, u64),
        name: String,
    ) -> io::Result<Option<String>> {
        if self.copies >= COPIES_MAX {
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
        self.copies += 1;
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
