//! A file system in memory that fails as a test says, for the tests of everything that stands on the journal.
//!
//! It keeps apart what a program sees and what a disk has: written bytes are on disk once their file is synced, names of
//! files and directories once the directory that holds them is. [`Simulated::crash`] cuts the power: of all that was not synced each block of 512 bytes and
//! each name is there or not or half there, as the seed says. A sync that fails leaves its bytes as Linux does: still
//! to be read, not on disk, and not brought there by the next sync.
//!
//! Everything follows from the seed and the order of the calls, so a run that failed fails again. Clones are the same
//! machine: a test holds one while the code under test uses another.
//!
//! ```
//! use std::path::Path;
//! use std::sync::Arc;
//! use journal::{Class, Journal, Settings, simulated::Simulated};
//!
//! let disk = Simulated::new(7);
//! let replay = Journal::open(Arc::new(disk.clone()), Path::new("/queue"), Settings::default())?;
//! let (mut journal, _) = replay.finish()?;
//! journal.append(&[b"kept"], Class::Ordinary).expect("there is space");
//! let job = journal.begin_sync().expect("the disk is well").expect("there is something to sync");
//! journal.end_sync(job.run()).expect("the disk is well");
//! journal.append(&[b"perhaps"], Class::Ordinary).expect("there is space");
//!
//! let disk = disk.crash();
//! let mut replay = Journal::open(Arc::new(disk), Path::new("/queue"), Settings::default())?;
//! assert_eq!(replay.next().expect("it was durable").1, "kept");
//! # Ok::<(), journal::OpenError>(())
//! ```

mod file;
mod machine;

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::file_system::{DiskSpace, Entry, File, FileSystem, Lock};
use machine::Machine;

/// What went wrong so far, because a test asked for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fired {
    /// Times the power was cut.
    pub crashes: u64,
    /// Syncs of files or directories that failed.
    pub failed_syncs: u64,
    /// Writes that failed.
    pub failed_writes: u64,
    /// Writes that took only a part.
    pub short_writes: u64,
    /// Writes that found no space.
    pub out_of_space: u64,
    /// Reads that failed.
    pub failed_reads: u64,
}

/// Which calls fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fail {
    /// None.
    #[default]
    Never,
    /// The `n`th from now, 1 being the next; then none.
    Nth(u64),
    /// Every one.
    Always,
}

/// A machine with a disk. It implements [`FileSystem`] for the time between two crashes; handles from before a crash
/// answer every call with an error.
#[derive(Debug, Clone)]
pub struct Simulated {
    machine: Arc<Mutex<Machine>>,
    /// The life of the machine that this handle belongs to.
    life: u64,
}

impl Simulated {
    /// An empty disk of 1 GiB; all chance comes from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Simulated {
        Simulated { machine: Arc::new(Mutex::new(Machine::new(seed))), life: 0 }
    }

    /// Cuts the power. What comes back is the handle to go on with.
    #[must_use]
    pub fn crash(&self) -> Simulated {
        let mut machine = self.lock_machine();
        machine.crash();
        Simulated { machine: Arc::clone(&self.machine), life: machine.life }
    }

    /// Ends the process, not the machine: locks are given back, and what was written stays. The handle to go on with.
    #[must_use]
    pub fn kill(&self) -> Simulated {
        let mut machine = self.lock_machine();
        machine.kill();
        Simulated { machine: Arc::clone(&self.machine), life: machine.life }
    }

    /// The size of the disk, in bytes; what is on it stays, also when it is more.
    pub fn set_capacity(&self, bytes: u64) {
        self.lock_machine().capacity = bytes;
    }

    /// Bytes in all files.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.lock_machine().used()
    }

    /// Lets syncs of files and directories fail with EIO.
    pub fn fail_syncs(&self, fail: Fail) {
        self.lock_machine().fail_syncs = fail;
    }

    /// Lets writes fail with EIO.
    pub fn fail_writes(&self, fail: Fail) {
        self.lock_machine().fail_writes = fail;
    }

    /// Lets one write in four take only a part of its bytes.
    pub fn write_short(&self, on: bool) {
        self.lock_machine().short_writes = on;
    }

    /// Lets reads of these bytes of a file fail with EIO.
    ///
    /// # Panics
    /// There is no such file.
    pub fn break_blocks(&self, path: &Path, bytes: Range<u64>) {
        self.lock_machine().contents_mut(path).expect("a file to break").unreadable.push(bytes);
    }

    /// Lets every block of a file be read again.
    ///
    /// # Panics
    /// There is no such file.
    pub fn heal_blocks(&self, path: &Path) {
        self.lock_machine().contents_mut(path).expect("a file to heal").unreadable.clear();
    }

    /// The most files that were open at once since the last crash or kill.
    #[must_use]
    pub fn files_open_at_most(&self) -> usize {
        self.lock_machine().open_at_most
    }

    /// What a program reads in a file.
    #[must_use]
    pub fn read(&self, path: &Path) -> Option<Vec<u8>> {
        self.lock_machine().contents_mut(path).ok().map(|contents| contents.bytes.clone())
    }

    /// Puts a file on the disk, durably, and the directories that it needs.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        self.lock_machine().put(path, bytes);
    }

    /// What went wrong so far.
    #[must_use]
    pub fn fired(&self) -> Fired {
        self.lock_machine().fired
    }

    fn lock_machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine, if this handle is of its present life.
    fn running(&self) -> io::Result<MutexGuard<'_, Machine>> {
        let machine = self.lock_machine();
        if machine.life == self.life { Ok(machine) } else { Err(io::Error::other("the machine went down")) }
    }

    fn opened(&self, inode: u64) -> Arc<dyn File> {
        self.lock_machine().count_opened();
        Arc::new(SimulatedFile { of: self.clone(), inode })
    }
}

impl FileSystem for Simulated {
    fn is_dir(&self, dir: &Path) -> bool {
        self.running().is_ok_and(|machine| machine.is_dir(dir))
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.running()?.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.running()?.list(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let inode = self.running()?.create(path)?;
        Ok(self.opened(inode))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let inode = self.running()?.find(path)?;
        Ok(self.opened(inode))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.running()?.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.running()?.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.running()?.sync_dir(dir)
    }

    fn space(&self, _dir: &Path) -> io::Result<DiskSpace> {
        let machine = self.running()?;
        Ok(DiskSpace { total: machine.capacity, free: machine.capacity.saturating_sub(machine.used()) })
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let mut machine = self.running()?;
        let inode = machine.find(path).or_else(|_| machine.create(path))?;
        let is_free = machine.locked.insert(inode);
        Ok(is_free.then(|| Box::new(SimulatedLock { of: self.clone(), inode }) as Box<dyn Lock>))
    }

    fn random(&self) -> u64 {
        self.lock_machine().chance()
    }
}

#[derive(Debug)]
struct SimulatedFile {
    of: Simulated,
    inode: u64,
}

impl File for SimulatedFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.of.running()?.read(self.inode, into, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.of.running()?.write(self.inode, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.of.running()?.sync(self.inode)
    }

    fn allocate(&self, offset: u64, bytes: u64) -> io::Result<()> {
        self.of.running()?.grow(self.inode, offset + bytes)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.of.running()?.set_len(self.inode, bytes)
    }

    fn size(&self) -> io::Result<u64> {
        self.of.running()?.len(self.inode)
    }
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        if let Ok(mut machine) = self.of.running() {
            machine.open -= 1;
        }
    }
}

#[derive(Debug)]
struct SimulatedLock {
    of: Simulated,
    inode: u64,
}

impl Lock for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        if let Ok(mut machine) = self.of.running() {
            machine.locked.remove(&self.inode);
        }
    }
}
