//! What the page cache has and the disk perhaps not.
//!
//! When a sync fails, the kernel forgets that the pages under it were to be written. It still shows them to whoever reads
//! them, and says yes to whoever syncs them next: another process, too. So a failed sync leaves a mark in the
//! directory, and the next start writes again what it read before it syncs it. The mark need not survive a power cut,
//! behind which the cache holds nothing that the disk has not.

use std::io;
use std::path::Path;

use crate::contents::unsynced_path;
use crate::file_system::{File, FileSystem, read_up_to, write_all};

const PIECE_BYTES: usize = 256 * 1024;

/// A sync has failed here. Best effort: on a disk that takes no file there will be no next start either.
pub(crate) fn mark(fs: &dyn FileSystem, dir: &Path) {
    fs.create(&unsynced_path(dir)).ok();
}

/// Everything that was read is durable.
pub(crate) fn unmark(fs: &dyn FileSystem, dir: &Path) {
    fs.remove(&unsynced_path(dir)).ok();
}

/// Writes the first `bytes` of a file again, as they are.
pub(crate) fn write_back(file: &dyn File, bytes: u64) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = 0;
    while at < bytes {
        let wanted = usize::try_from(bytes - at).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let have = read_up_to(file, &mut piece[..wanted], at)?;
        if have == 0 {
            break;
        }
        write_all(file, &piece[..have], at)?;
        at += have as u64;
    }
    Ok(())
}
