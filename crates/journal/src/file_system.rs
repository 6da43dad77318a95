//! The one place that names the file system: everything the journal does to files goes through these two traits.
//!
//! So a test can put a file system under it that fails, fills up, or loses its power (`simulated`). The traits are as
//! narrow as the journal's needs, and no default hides a step: syncing a directory is a call of its own.

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Files and directories.
pub trait FileSystem: Send + Sync + Debug {
    /// Whether there is a directory `dir`.
    fn is_dir(&self, dir: &Path) -> bool;
    /// Makes the directory `dir` in one that is there. Its name is durable once that one is synced.
    ///
    /// # Errors
    /// The file system's, `AlreadyExists` among them.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// The files (not directories) in `dir`, in no order.
    ///
    /// # Errors
    /// The file system's.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;
    /// A new, empty file to read and write; one of that name is emptied.
    ///
    /// # Errors
    /// The file system's.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// An existing file to read and write.
    ///
    /// # Errors
    /// The file system's, `NotFound` among them.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Gives a file another name, in place of one that has it.
    ///
    /// # Errors
    /// The file system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Takes a file away.
    ///
    /// # Errors
    /// The file system's.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Returns when the names in `dir` are durable.
    ///
    /// # Errors
    /// The file system's.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// The size of the file system that holds `dir`.
    ///
    /// # Errors
    /// The file system's.
    fn space(&self, dir: &Path) -> io::Result<DiskSpace>;
    /// Makes the file `path` and locks it until the value is dropped, or the process ends, however it ends. `None`:
    /// somebody has it.
    ///
    /// # Errors
    /// The file system's.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>>;
    /// A number that nobody can foresee, for salts.
    fn random(&self) -> u64;
}

/// An open file. Calls may come from several threads at once.
pub trait File: Send + Sync + Debug {
    /// Reads at `offset`; fewer bytes than asked is no error, 0 is the end.
    ///
    /// # Errors
    /// The file system's.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes at `offset`; fewer bytes than given is no error.
    ///
    /// # Errors
    /// The file system's.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Returns when what was written before the call is durable, with as much about the file as reading it needs.
    ///
    /// # Errors
    /// The file system's. The bytes written since the last sync are then lost, and a later success says nothing about
    /// them: the kernel may have dropped them.
    fn sync(&self) -> io::Result<()>;
    /// Makes room for `bytes` at the file's end `offset`. They read as zeros, writing to them cannot fail for want of
    /// space, and once they are synced, a sync of what is written to them carries no metadata.
    ///
    /// # Errors
    /// The file system's; the file may then have grown by a part of it.
    fn allocate(&self, offset: u64, bytes: u64) -> io::Result<()>;
    /// Cuts the file, or grows it by a hole.
    ///
    /// # Errors
    /// The file system's.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// Bytes in the file.
    ///
    /// # Errors
    /// The file system's.
    fn size(&self) -> io::Result<u64>;
}

/// Held until it is dropped.
pub trait Lock: Send + Sync + Debug {}

/// A file in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, without the directory.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// What a file system has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes in all.
    pub total: u64,
    /// Bytes that this process could still use.
    pub free: u64,
}

/// Writes all of `bytes`, however short the single writes are.
pub(crate) fn write_all(file: &dyn File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                offset += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads until `into` is full or the file ends; how many bytes there were.
pub(crate) fn read_up_to(file: &dyn File, into: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut have = 0;
    while have < into.len() {
        match file.read_at(&mut into[have..], offset + have as u64) {
            Ok(0) => break,
            Ok(read) => have += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(have)
}

/// What a disk reads or does not.
const BLOCK_BYTES: usize = 4096;

/// Fills `into` from `offset` on, with zeros where the disk cannot read or the file has ended; how many bytes it could
/// not read.
pub(crate) fn read_past_errors(file: &dyn File, into: &mut [u8], offset: u64) -> u64 {
    if read_up_to(file, into, offset).is_ok() {
        return 0;
    }
    let (mut unreadable, mut at) = (0, 0);
    while at < into.len() {
        let in_block = (offset as usize + at) % BLOCK_BYTES;
        let until = (at + BLOCK_BYTES - in_block).min(into.len());
        let block = &mut into[at..until];
        if read_up_to(file, block, offset + at as u64).is_err() {
            block.fill(0);
            unreadable += block.len() as u64;
        }
        at = until;
    }
    unreadable
}
