//! A file of the simulated disk: what a program reads in it, and what of that is not on disk.

use std::collections::BTreeMap;
use std::ops::Range;

/// What a disk writes whole or not at all, and sometimes not even that.
const BLOCK_BYTES: usize = 512;

type Blocks = BTreeMap<usize, [u8; BLOCK_BYTES]>;

#[derive(Debug, Default)]
pub(super) struct Contents {
    /// As it is read.
    pub(super) bytes: Vec<u8>,
    /// Its length on disk.
    durable_len: usize,
    /// What the disk has where it was written since the last sync.
    unsynced: Blocks,
    /// What the disk has where a sync failed: the next one does not bring it there.
    dropped: Blocks,
    /// Where a read fails.
    pub(super) unreadable: Vec<Range<u64>>,
}

/// How a crash leaves what was not synced.
#[derive(Debug, Clone, Copy)]
pub(super) enum Crash {
    Loses,
    Keeps,
    Mixes,
}

impl Contents {
    pub(super) fn durable(bytes: Vec<u8>) -> Contents {
        Contents { durable_len: bytes.len(), bytes, ..Contents::default() }
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        self.remember(offset..end);
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
    }

    /// Longer by zeros, or cut.
    pub(super) fn set_len(&mut self, len: usize) {
        if len < self.bytes.len() {
            self.remember(len..self.bytes.len());
        }
        self.bytes.resize(len, 0);
    }

    pub(super) fn sync(&mut self) {
        self.unsynced.clear();
        self.durable_len = self.bytes.len();
    }

    /// The kernel forgets that these blocks are to be written.
    pub(super) fn fail_sync(&mut self) {
        for (block, on_disk) in std::mem::take(&mut self.unsynced) {
            self.dropped.entry(block).or_insert(on_disk);
        }
    }

    /// Keeps what the disk has in the blocks of `range`, which are about to change.
    fn remember(&mut self, range: Range<usize>) {
        for block in range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES) {
            let on_disk = self.dropped.remove(&block).unwrap_or_else(|| self.block(block));
            self.unsynced.entry(block).or_insert(on_disk);
        }
    }

    fn block(&self, block: usize) -> [u8; BLOCK_BYTES] {
        let mut copy = [0; BLOCK_BYTES];
        let from = (block * BLOCK_BYTES).min(self.bytes.len());
        let until = (from + BLOCK_BYTES).min(self.bytes.len());
        copy[..until - from].copy_from_slice(&self.bytes[from..until]);
        copy
    }

    /// The power is cut: what is read from now on is what the disk has.
    pub(super) fn crash(&mut self, crash: Crash, mut chance: impl FnMut() -> u64) {
        let mut on_disk = std::mem::take(&mut self.dropped);
        on_disk.append(&mut std::mem::take(&mut self.unsynced));
        let len = self.len_after(crash, &mut chance);
        let seen = self.bytes.len();
        self.bytes.resize(len.max(seen).max(self.durable_len), 0);
        for (block, old) in on_disk {
            let from = (block * BLOCK_BYTES).min(self.bytes.len());
            let until = (from + BLOCK_BYTES).min(self.bytes.len());
            let range = match (crash, chance() % 4) {
                // What was cut off has no newer bytes: if the length comes back, so do the old ones.
                _ if from >= seen => from..until,
                (Crash::Keeps, _) | (Crash::Mixes, 2) => continue,
                (Crash::Loses, _) | (Crash::Mixes, 0 | 1) => from..until,
                (Crash::Mixes, _) => from + (chance() as usize % BLOCK_BYTES).min(until - from)..until,
            };
            self.bytes[range.clone()].copy_from_slice(&old[range.start - from..range.end - from]);
        }
        self.bytes.truncate(len);
        self.durable_len = len;
    }

    fn len_after(&self, crash: Crash, chance: &mut impl FnMut() -> u64) -> usize {
        let (durable, seen) = (self.durable_len, self.bytes.len());
        match crash {
            Crash::Loses => durable,
            Crash::Keeps => seen,
            Crash::Mixes if seen <= durable => *[durable, seen].get(chance() as usize % 2).unwrap_or(&seen),
            Crash::Mixes => (durable + chance() as usize % (seen - durable + 1)).min(seen),
        }
    }
}
