//! A queue of messages to be handed out again, compressed: millions of requeues cost about a byte each.
//!
//! Messages mostly come back in the order in which they went out, so a run of neighbours with the same attempts is
//! one entry of a few bytes. Entries are written to the last block and read from the first one; nothing between is
//! touched. A `VecDeque` of slots was the other choice: twelve bytes each, 160 MB for what a test here asks for.

use std::collections::VecDeque;

use super::slot::Slot;
use super::varint::{Malformed, Reader, put, put_bytes, zigzag};

/// Bytes of a block before the next is begun.
const BLOCK_BYTES: usize = 4096;

const NEW_SEGMENT: u64 = 1;
const NEW_ATTEMPTS: u64 = 2;
const MORE_THAN_ONE: u64 = 4;
const FLAG_BITS: u32 = 3;

/// Neighbours with the same attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    first: Slot,
    attempts: u16,
    length: u32,
}

/// What an entry is told from.
#[derive(Debug, Clone, Copy, Default)]
struct Before {
    segment: u32,
    /// The ordinal that a run right behind it would begin with.
    next: u32,
    attempts: u16,
}

#[derive(Debug, Clone, Default)]
struct Block {
    bytes: Vec<u8>,
    /// Messages in it.
    count: u64,
}

/// First in, first out.
#[derive(Debug, Clone, Default)]
pub(super) struct Fifo {
    /// Put before everything else, not compressed: what was out at consumers when the broker stopped.
    front: VecDeque<(Slot, u16)>,
    reading: Option<Run>,
    read_at: usize,
    read_from: Before,
    blocks: VecDeque<Block>,
    written: Before,
    writing: Option<Run>,
    count: u64,
}

impl Fifo {
    /// Messages in it.
    pub(super) fn len(&self) -> u64 {
        self.count
    }

    /// Puts one at the back.
    pub(super) fn push(&mut self, slot: Slot, attempts: u16) {
        self.count += 1;
        if let Some(run) = &mut self.writing {
            let next = run.first.ordinal.checked_add(run.length);
            if run.first.segment == slot.segment && run.attempts == attempts && next == Some(slot.ordinal) {
                run.length += 1;
                return;
            }
        }
        let begun = Run { first: slot, attempts, length: 1 };
        if let Some(run) = self.writing.replace(begun) {
            self.write(run);
        }
    }

    /// Puts one before all others.
    pub(super) fn push_front(&mut self, slot: Slot, attempts: u16) {
        self.count += 1;
        self.front.push_front((slot, attempts));
    }

    /// Takes the first one.
    pub(super) fn pop(&mut self) -> Option<(Slot, u16)> {
        let taken = self.front.pop_front().or_else(|| self.pop_of_run())?;
        self.count -= 1;
        Some(taken)
    }

    /// The first one, left where it is.
    pub(super) fn peek(&mut self) -> Option<(Slot, u16)> {
        if let Some(first) = self.front.front() {
            return Some(*first);
        }
        let run = self.run()?;
        Some((run.first, run.attempts))
    }

    fn pop_of_run(&mut self) -> Option<(Slot, u16)> {
        let run = self.run()?;
        let taken = (run.first, run.attempts);
        run.length -= 1;
        run.first.ordinal = run.first.ordinal.saturating_add(1);
        if run.length == 0 {
            self.reading = None;
        }
        Some(taken)
    }

    /// The run being read: of the first block, or else the one being written.
    fn run(&mut self) -> Option<&mut Run> {
        if self.reading.is_none() {
            self.reading = self.read().or_else(|| self.writing.take());
        }
        self.reading.as_mut()
    }

    fn write(&mut self, run: Run) {
        if self.blocks.back().is_none_or(|block| block.bytes.len() >= BLOCK_BYTES) {
            if let Some(full) = self.blocks.back_mut() {
                full.bytes.shrink_to_fit();
            }
            self.blocks.push_back(Block::default());
            self.written = Before::default();
        }
        let block = self.blocks.back_mut().expect("one was just put there");
        block.count += u64::from(run.length);
        write_run(&mut block.bytes, &mut self.written, run);
    }

    fn read(&mut self) -> Option<Run> {
        while let Some(block) = self.blocks.front() {
            let mut reader = Reader(block.bytes.get(self.read_at..).unwrap_or_default());
            if !reader.is_empty() {
                let run =
                    read_run(&mut reader, &mut self.read_from).expect("blocks hold what `write_run` wrote");
                self.read_at = block.bytes.len() - reader.0.len();
                return Some(run);
            }
            self.blocks.pop_front();
            self.read_at = 0;
            self.read_from = Before::default();
        }
        None
    }

    /// Every message in it, in order. Reads everything: for checkpoints and rewriting.
    pub(super) fn each(&self, mut visit: impl FnMut(Slot, u16)) {
        for (slot, attempts) in &self.front {
            visit(*slot, *attempts);
        }
        self.each_run(|run| {
            for step in 0..run.length {
                let ordinal = run.first.ordinal.saturating_add(step);
                visit(Slot { segment: run.first.segment, ordinal }, run.attempts);
            }
        });
    }

    /// Every message of one segment. A segment's runs are told from others without looking into them.
    pub(super) fn each_of(&self, segment: u32, mut visit: impl FnMut(u32, u16)) {
        for (slot, attempts) in self.front.iter().filter(|(slot, _)| slot.segment == segment) {
            visit(slot.ordinal, *attempts);
        }
        self.each_run(|run| {
            if run.first.segment == segment {
                (0..run.length).for_each(|step| visit(run.first.ordinal.saturating_add(step), run.attempts));
            }
        });
    }

    fn each_run(&self, mut visit: impl FnMut(Run)) {
        self.reading.into_iter().for_each(&mut visit);
        let (mut at, mut before) = (self.read_at, self.read_from);
        for block in &self.blocks {
            let mut reader = Reader(block.bytes.get(at..).unwrap_or_default());
            while !reader.is_empty() {
                visit(read_run(&mut reader, &mut before).expect("blocks hold what `write_run` wrote"));
            }
            (at, before) = (0, Before::default());
        }
        self.writing.into_iter().for_each(&mut visit);
    }

    /// Writes it down for a checkpoint: one block of everything.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put(out, self.front.len() as u64);
        let (mut runs, mut before) = (Vec::new(), Before::default());
        for (slot, attempts) in &self.front {
            write_run(&mut runs, &mut before, Run { first: *slot, attempts: *attempts, length: 1 });
        }
        self.each_run(|run| write_run(&mut runs, &mut before, run));
        put_bytes(out, &runs);
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let front = reader.count(1)?;
        let mut runs = Reader(reader.bytes()?);
        let (mut fifo, mut before) = (Self::default(), Before::default());
        for _ in 0..front {
            let run = read_run(&mut runs, &mut before)?;
            fifo.count += 1;
            fifo.front.push_back((run.first, run.attempts));
        }
        while !runs.is_empty() {
            let run = read_run(&mut runs, &mut before)?;
            fifo.count += u64::from(run.length);
            if let Some(run) = fifo.writing.replace(run) {
                fifo.write(run);
            }
        }
        Ok(fifo)
    }
}

fn write_run(out: &mut Vec<u8>, before: &mut Before, run: Run) {
    let new_segment = run.first.segment != before.segment;
    let expected = if new_segment { 0 } else { before.next };
    let ordinal = zigzag(i64::from(run.first.ordinal) - i64::from(expected));
    let mut head = ordinal << FLAG_BITS;
    head |= if new_segment { NEW_SEGMENT } else { 0 };
    head |= if run.attempts == before.attempts { 0 } else { NEW_ATTEMPTS };
    head |= if run.length > 1 { MORE_THAN_ONE } else { 0 };
    put(out, head);
    if new_segment {
        put(out, zigzag(i64::from(run.first.segment) - i64::from(before.segment)));
    }
    if head & NEW_ATTEMPTS != 0 {
        put(out, u64::from(run.attempts));
    }
    if head & MORE_THAN_ONE != 0 {
        put(out, u64::from(run.length - 1));
    }
    *before = after(run);
}

fn read_run(reader: &mut Reader<'_>, before: &mut Before) -> Result<Run, Malformed> {
    let head = reader.u64()?;
    let (mut segment, mut expected, mut attempts, mut length) =
        (before.segment, before.next, before.attempts, 1);
    if head & NEW_SEGMENT != 0 {
        segment = add(segment, reader.i64()?)?;
        expected = 0;
    }
    if head & NEW_ATTEMPTS != 0 {
        attempts = reader.u16()?;
    }
    if head & MORE_THAN_ONE != 0 {
        length = reader.u32()?.checked_add(1).ok_or(Malformed)?;
    }
    let ordinal = add(expected, super::varint::unzigzag(head >> FLAG_BITS))?;
    let run = Run { first: Slot { segment, ordinal }, attempts, length };
    *before = after(run);
    Ok(run)
}

fn after(run: Run) -> Before {
    let next = run.first.ordinal.saturating_add(run.length);
    Before { segment: run.first.segment, next, attempts: run.attempts }
}

fn add(base: u32, delta: i64) -> Result<u32, Malformed> {
    i64::from(base).checked_add(delta).and_then(|sum| u32::try_from(sum).ok()).ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(segment: u32, ordinal: u32) -> Slot {
        Slot { segment, ordinal }
    }

    /// Small steps of a multiplicative generator: the same on every machine.
    fn steps(seed: u64) -> impl FnMut(u64) -> u64 {
        let mut state = seed;
        move |below| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        }
    }

    #[test]
    fn it_is_a_queue() {
        let mut step = steps(7);
        let (mut fifo, mut model) = (Fifo::default(), VecDeque::new());
        for _ in 0..200_000 {
            match step(10) {
                0..5 => {
                    let entry = (slot(step(3) as u32, step(9) as u32), step(3) as u16);
                    fifo.push(entry.0, entry.1);
                    model.push_back(entry);
                }
                5 => {
                    let entry = (slot(9, 9), 9);
                    fifo.push_front(entry.0, entry.1);
                    model.push_front(entry);
                }
                6 => assert_eq!(fifo.peek(), model.front().copied()),
                _ => assert_eq!(fifo.pop(), model.pop_front()),
            }
            assert_eq!(fifo.len(), model.len() as u64);
        }
        let mut bytes = Vec::new();
        fifo.encode(&mut bytes);
        let mut all = VecDeque::new();
        fifo.each(|slot, attempts| all.push_back((slot, attempts)));
        assert_eq!(all, model);
        let mut back = Fifo::decode(&mut Reader(&bytes)).expect("what was just written");
        while let Some(entry) = model.pop_front() {
            assert_eq!(back.pop(), Some(entry));
        }
        assert_eq!((back.pop(), back.len()), (None, 0));
    }

    #[test]
    fn neighbours_cost_next_to_nothing_and_gaps_a_byte_or_two() {
        let mut fifo = Fifo::default();
        (0..1_000_000).for_each(|at| fifo.push(slot(at / 8000, at % 8000), 1));
        assert!(fifo.blocks.iter().map(|block| block.bytes.len()).sum::<usize>() < 2_000);
        let mut fifo = Fifo::default();
        (0..1_000_000).filter(|at| at % 10 != 3).for_each(|at| fifo.push(slot(at / 8000, at % 8000), 1));
        assert!(fifo.blocks.iter().map(|block| block.bytes.len()).sum::<usize>() < 300_000);
        let mut step = steps(1);
        let mut fifo = Fifo::default();
        (0..1_000_000).for_each(|at| fifo.push(slot(at / 8000, step(8000) as u32), 1));
        assert!(fifo.blocks.iter().map(|block| block.bytes.len()).sum::<usize>() < 3_100_000);
    }

    #[test]
    fn one_segment_can_be_looked_at() {
        let mut fifo = Fifo::default();
        (0..100).for_each(|at| fifo.push(slot(at % 4, at), at as u16));
        fifo.push_front(slot(2, 1000), 5);
        let mut found = Vec::new();
        fifo.each_of(2, |ordinal, attempts| found.push((ordinal, attempts)));
        assert_eq!((found.len(), found[0], found[1]), (26, (1000, 5), (2, 2)));
    }

    #[test]
    fn what_does_not_decode_is_refused() {
        for bytes in [&[0, 2, 0xff, 0xff][..], &[5, 0], &[0, 1, 2], &[]] {
            assert!(Fifo::decode(&mut Reader(bytes)).is_err(), "{bytes:?}");
        }
    }
}
