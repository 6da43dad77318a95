//! What a start could not read is copied aside, for people to look at, before it is cut or skipped.

use std::io;
use std::path::{Path, PathBuf};

use crate::file_system::{File, FileSystem, read_up_to, write_all};

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
        (mut from, to): (u64, u64),
        name: String,
    ) -> io::Result<Option<String>> {
        if self.copies >= COPIES_MAX {
            return Ok(None);
        }
        let path = self.dir.join(&name);
        let copy = fs.create(&path)?;
        self.copies += 1;
        let mut at = 0;
        while from < to {
            let mut piece = vec![0; PIECE_BYTES.min(usize::try_from(to - from).unwrap_or(PIECE_BYTES))];
            // What the disk cannot read is not in the copy; the rest is.
            let have = read_up_to(file, &mut piece, from).unwrap_or(0);
            write_all(&*copy, &piece[..have], at)?;
            from += piece.len() as u64;
            at += piece.len() as u64;
        }
        copy.sync()?;
        fs.sync_dir(&self.dir)?;
        Ok(Some(name))
    }
}
