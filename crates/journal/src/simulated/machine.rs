//! The simulated disk's names and faults.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use super::file::{Contents, Crash};
use super::{Fail, Fired};
use crate::file_system::Entry;

/// A change of names that is not on disk.
#[derive(Debug)]
enum Change {
    Made(PathBuf),
    Named(PathBuf, u64),
    Removed(PathBuf),
    Renamed(PathBuf, PathBuf, u64),
}

impl Change {
    fn dir(&self) -> Option<&Path> {
        match self {
            Change::Made(path)
            | Change::Named(path, _)
            | Change::Removed(path)
            | Change::Renamed(_, path, _) => path.parent(),
        }
    }

    fn apply(self, names: &mut Names) {
        match self {
            Change::Made(path) => {
                names.dirs.insert(path);
            }
            Change::Named(path, inode) => {
                names.files.insert(path, inode);
            }
            Change::Removed(path) => {
                names.files.remove(&path);
            }
            Change::Renamed(from, to, inode) => {
                names.files.remove(&from);
                names.files.insert(to, inode);
            }
        }
    }
}

/// Files, and the directories below the root.
#[derive(Debug, Clone, Default)]
struct Names {
    files: BTreeMap<PathBuf, u64>,
    dirs: BTreeSet<PathBuf>,
}

impl Names {
    fn is_dir(&self, dir: &Path) -> bool {
        dir.parent().is_none() || self.dirs.contains(dir)
    }

    /// Without what lies in directories that are not there.
    fn drop_unreachable(&mut self) {
        // A directory comes before those in it.
        for dir in std::mem::take(&mut self.dirs) {
            if dir.parent().is_some_and(|parent| self.is_dir(parent)) {
                self.dirs.insert(dir);
            }
        }
        let dirs = &self.dirs;
        let is_there = |dir: &Path| dir.parent().is_none() || dirs.contains(dir);
        self.files.retain(|path, _| path.parent().is_some_and(is_there));
    }
}

#[derive(Debug)]
pub(super) struct Machine {
    random: u64,
    pub(super) life: u64,
    pub(super) capacity: u64,
    pub(super) fail_syncs: Fail,
    pub(super) fail_writes: Fail,
    pub(super) short_writes: bool,
    pub(super) fired: Fired,
    pub(super) locked: BTreeSet<u64>,
    /// Files that are open, in this life.
    pub(super) open: usize,
    pub(super) open_at_most: usize,
    names: Names,
    durable_names: Names,
    changes: Vec<Change>,
    inodes: HashMap<u64, Contents>,
    next_inode: u64,
}

impl Machine {
    pub(super) fn new(seed: u64) -> Machine {
        Machine {
            random: seed,
            life: 0,
            capacity: 1 << 30,
            fail_syncs: Fail::Never,
            fail_writes: Fail::Never,
            short_writes: false,
            fired: Fired::default(),
            locked: BTreeSet::new(),
            open: 0,
            open_at_most: 0,
            names: Names::default(),
            durable_names: Names::default(),
            changes: Vec::new(),
            inodes: HashMap::new(),
            next_inode: 0,
        }
    }

    /// The next number of the seed's row (splitmix64).
    pub(super) fn chance(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn kill(&mut self) {
        self.life += 1;
        self.locked.clear();
        self.open = 0;
        self.open_at_most = 0;
    }

    pub(super) fn count_opened(&mut self) {
        self.open += 1;
        self.open_at_most = self.open_at_most.max(self.open);
    }

    pub(super) fn crash(&mut self) {
        self.kill();
        self.fired.crashes += 1;
        let crash = match self.chance() % 4 {
            0 => Crash::Loses,
            1 => Crash::Keeps,
            _ => Crash::Mixes,
        };
        for change in std::mem::take(&mut self.changes) {
            let kept = match crash {
                Crash::Loses => false,
                Crash::Keeps => true,
                Crash::Mixes => self.chance().is_multiple_of(2),
            };
            if kept {
                change.apply(&mut self.durable_names);
            }
        }
        self.durable_names.drop_unreachable();
        self.names = self.durable_names.clone();
        self.forget_unnamed();
        // In the order of the inodes, for the chances must fall alike in each run.
        let inodes: BTreeSet<u64> = self.inodes.keys().copied().collect();
        for inode in inodes {
            let mut random = self.chance();
            if let Some(contents) = self.inodes.get_mut(&inode) {
                contents.crash(crash, || {
                    random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                    random >> 33
                });
            }
        }
    }

    pub(super) fn used(&self) -> u64 {
        self.names
            .files
            .values()
            .filter_map(|inode| self.inodes.get(inode))
            .map(|file| file.bytes.len() as u64)
            .sum()
    }

    pub(super) fn is_dir(&self, dir: &Path) -> bool {
        self.names.is_dir(dir)
    }

    /// The directory that a new name goes into.
    fn find_parent(&self, path: &Path) -> io::Result<()> {
        let is_there = path.parent().is_some_and(|parent| self.is_dir(parent));
        if is_there { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    pub(super) fn create_dir(&mut self, dir: &Path) -> io::Result<()> {
        if self.is_dir(dir) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.find_parent(dir)?;
        self.names.dirs.insert(dir.to_owned());
        self.changes.push(Change::Made(dir.to_owned()));
        Ok(())
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        if !self.is_dir(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let names = self.names.files.iter().filter(|(path, _)| path.parent() == Some(dir));
        let entry = |(path, inode): (&PathBuf, &u64)| Entry {
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            bytes: self.inodes.get(inode).map_or(0, |file| file.bytes.len() as u64),
        };
        Ok(names.map(entry).collect())
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<u64> {
        self.names.files.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<u64> {
        if let Ok(inode) = self.find(path) {
            self.file(inode).set_len(0);
            return Ok(inode);
        }
        self.find_parent(path)?;
        self.next_inode += 1;
        self.inodes.insert(self.next_inode, Contents::default());
        self.names.files.insert(path.to_owned(), self.next_inode);
        self.changes.push(Change::Named(path.to_owned(), self.next_inode));
        Ok(self.next_inode)
    }

    pub(super) fn put(&mut self, path: &Path, bytes: Vec<u8>) {
        for dir in path.ancestors().skip(1).filter(|dir| dir.parent().is_some()) {
            self.names.dirs.insert(dir.to_owned());
            self.durable_names.dirs.insert(dir.to_owned());
        }
        let inode = self.create(path).expect("its directories are there");
        self.inodes.insert(inode, Contents::durable(bytes));
        self.durable_names.files.insert(path.to_owned(), inode);
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.find_parent(to)?;
        let inode = self.names.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        self.names.files.insert(to.to_owned(), inode);
        self.changes.push(Change::Renamed(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.names.files.remove(path).ok_or(io::ErrorKind::NotFound)?;
        self.changes.push(Change::Removed(path.to_owned()));
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        if !self.is_dir(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if is_hit(&mut self.fail_syncs) {
            self.fired.failed_syncs += 1;
            return Err(eio());
        }
        let (of_dir, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.changes).into_iter().partition(|change| change.dir() == Some(dir));
        self.changes = others;
        for change in of_dir {
            change.apply(&mut self.durable_names);
        }
        self.forget_unnamed();
        Ok(())
    }

    /// Drops files that no name, durable or not, leads to. (A file that is open without a name is not needed here.)
    fn forget_unnamed(&mut self) {
        let mut named: BTreeSet<u64> =
            self.names.files.values().chain(self.durable_names.files.values()).copied().collect();
        named.extend(self.changes.iter().filter_map(|change| match change {
            Change::Named(_, inode) | Change::Renamed(_, _, inode) => Some(*inode),
            Change::Made(_) | Change::Removed(_) => None,
        }));
        self.inodes.retain(|inode, _| named.contains(inode));
    }

    fn file(&mut self, inode: u64) -> &mut Contents {
        self.inodes.entry(inode).or_default()
    }

    pub(super) fn contents_mut(&mut self, path: &Path) -> io::Result<&mut Contents> {
        let inode = self.find(path)?;
        Ok(self.file(inode))
    }

    pub(super) fn len(&mut self, inode: u64) -> io::Result<u64> {
        Ok(self.file(inode).bytes.len() as u64)
    }

    pub(super) fn read(&mut self, inode: u64, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let end = offset + into.len() as u64;
        let file = self.file(inode);
        if file.unreadable.iter().any(|bad| bad.start < end && offset < bad.end) {
            self.fired.failed_reads += 1;
            return Err(eio());
        }
        let rest = file.bytes.get(usize::try_from(offset).unwrap_or(usize::MAX)..).unwrap_or_default();
        let bytes = rest.len().min(into.len());
        into[..bytes].copy_from_slice(&rest[..bytes]);
        Ok(bytes)
    }

    pub(super) fn write(&mut self, inode: u64, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if is_hit(&mut self.fail_writes) {
            self.fired.failed_writes += 1;
            return Err(eio());
        }
        let mut fits = (self.longest(inode).saturating_sub(offset) as usize).min(bytes.len());
        if fits == 0 && !bytes.is_empty() {
            self.fired.out_of_space += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        if self.short_writes && fits > 1 && self.chance().is_multiple_of(4) {
            self.fired.short_writes += 1;
            fits = 1 + self.chance() as usize % (fits - 1);
        }
        self.file(inode).write(&bytes[..fits], offset as usize);
        Ok(fits)
    }

    pub(super) fn grow(&mut self, inode: u64, until: u64) -> io::Result<()> {
        if is_hit(&mut self.fail_writes) {
            self.fired.failed_writes += 1;
            return Err(eio());
        }
        let longest = self.longest(inode);
        let file = self.file(inode);
        file.set_len((until.min(longest) as usize).max(file.bytes.len()));
        if until > longest {
            self.fired.out_of_space += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// How long a file may become.
    fn longest(&mut self, inode: u64) -> u64 {
        let free = self.capacity.saturating_sub(self.used());
        self.file(inode).bytes.len() as u64 + free
    }

    pub(super) fn set_len(&mut self, inode: u64, bytes: u64) -> io::Result<()> {
        self.file(inode).set_len(bytes as usize);
        Ok(())
    }

    pub(super) fn sync(&mut self, inode: u64) -> io::Result<()> {
        if is_hit(&mut self.fail_syncs) {
            self.fired.failed_syncs += 1;
            self.file(inode).fail_sync();
            return Err(eio());
        }
        self.file(inode).sync();
        Ok(())
    }
}

fn is_hit(fail: &mut Fail) -> bool {
    match fail {
        Fail::Never => false,
        Fail::Always => true,
        Fail::Nth(left) => {
            *left = left.saturating_sub(1);
            let hit = *left == 0;
            if hit {
                *fail = Fail::Never;
            }
            hit
        }
    }
}

/// The error that a disk gives when it is broken.
fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}
