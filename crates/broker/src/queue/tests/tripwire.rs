//! A disk whose power goes at the nth call, whatever that call is: in the middle of a sync, a checkpoint or a start.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use journal::simulated::Simulated;
use journal::{DiskSpace, Entry, File, FileSystem, Lock};

#[derive(Debug)]
struct Wire {
    left: u64,
    after: Option<Simulated>,
}

/// The disk, until its power goes.
#[derive(Debug, Clone)]
pub(super) struct Tripwire {
    disk: Simulated,
    wire: Arc<Mutex<Wire>>,
}

impl Tripwire {
    pub(super) fn new(disk: Simulated, calls: u64) -> Self {
        Self { disk, wire: Arc::new(Mutex::new(Wire { left: calls, after: None })) }
    }

    /// The power goes at this call from now.
    pub(super) fn set(&self, calls: u64) {
        self.wire.lock().expect("one thread").left = calls;
    }

    /// The disk after its power went, if it did.
    pub(super) fn after(&self) -> Option<Simulated> {
        self.wire.lock().expect("one thread").after.clone()
    }

    fn step(&self) {
        let mut wire = self.wire.lock().expect("one thread");
        wire.left = wire.left.saturating_sub(1);
        if wire.left == 0 && wire.after.is_none() {
            wire.after = Some(self.disk.crash());
        }
    }

    fn wrap(&self, file: io::Result<Arc<dyn File>>) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(Wired { file: file?, of: self.clone() }))
    }
}

impl FileSystem for Tripwire {
    fn is_dir(&self, dir: &Path) -> bool {
        self.disk.is_dir(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.step();
        self.disk.create_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(dir)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.step();
        self.wrap(self.disk.create(path))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.wrap(self.disk.open(path))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step();
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step();
        self.disk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.step();
        self.disk.sync_dir(dir)
    }
    fn space(&self, dir: &Path) -> io::Result<DiskSpace> {
        self.disk.space(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.disk.lock(path)
    }
    fn random(&self) -> u64 {
        self.disk.random()
    }
}

#[derive(Debug)]
struct Wired {
    file: Arc<dyn File>,
    of: Tripwire,
}

impl File for Wired {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(into, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.of.step();
        self.file.write_at(bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.of.step();
        self.file.sync()
    }
    fn allocate(&self, offset: u64, bytes: u64) -> io::Result<()> {
        self.of.step();
        self.file.allocate(offset, bytes)
    }
    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.of.step();
        self.file.set_len(bytes)
    }
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }
}
