//! A topic's messages: where each stands in the log, segment by segment.
//!
//! Four bytes a message, and a bit or two where something is out of the ordinary. What no channel and no fan-out
//! waits for any more is forgotten a segment at a time.

use std::collections::BTreeMap;

use journal::Position;

use super::bitmap::{Bitmap, mask};
use super::slot::Slot;
use super::varint::{Malformed, Reader, put};

/// A topic's messages in one segment of the log.
#[derive(Debug, Clone, Default)]
pub(super) struct TopicSegment {
    /// Where the records begin, rising.
    offsets: Vec<u32>,
    /// Messages moved here after their fan-out: no channel is given them, those that wait for them have them already.
    pub(super) placed: Bitmap,
    /// Messages before this ordinal were fanned out. What lies behind waits, unless it was placed.
    pub(super) fanned: u32,
    /// Messages that some channel, or the fan-out, waits for.
    pub(super) live: u32,
    /// About the bytes of their records: all of the segment's, less an even share for each that is dead.
    pub(super) bytes: u64,
}

impl TopicSegment {
    pub(super) fn len(&self) -> u32 {
        self.offsets.len() as u32
    }

    pub(super) fn offset(&self, ordinal: u32) -> Option<u32> {
        self.offsets.get(ordinal as usize).copied()
    }

    fn find(&self, offset: u32) -> Option<u32> {
        self.offsets.binary_search(&offset).ok().map(|ordinal| ordinal as u32)
    }

    /// Whether a message waits for its fan-out.
    pub(super) fn is_waiting(&self, ordinal: u32) -> bool {
        (self.fanned..self.len()).contains(&ordinal) && !self.placed.get(ordinal)
    }

    /// The messages of word `index` that wait for their fan-out.
    pub(super) fn waiting_word(&self, index: u32) -> u64 {
        mask(index, self.fanned, self.len()) & !self.placed.word(index)
    }

    /// Words that cover all messages.
    pub(super) fn words(&self) -> std::ops::Range<u32> {
        0..self.len().div_ceil(Bitmap::WORD)
    }

    /// One message fewer is live; gives back its share of the bytes.
    pub(super) fn bury(&mut self) -> u64 {
        let share = self.bytes / u64::from(self.live.max(1));
        self.live = self.live.saturating_sub(1);
        self.bytes -= share;
        share
    }

    /// Only `live` messages are; gives back how many died, and their share of the bytes.
    pub(super) fn bury_all_but(&mut self, live: u32) -> (u32, u64) {
        let live = live.min(self.live);
        let kept = self.bytes * u64::from(live) / u64::from(self.live.max(1));
        let buried = (self.live - live, self.bytes - kept);
        (self.live, self.bytes) = (live, kept);
        buried
    }
}

/// All messages of a topic.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    pub(super) segments: BTreeMap<u32, TopicSegment>,
    /// Messages that wait for their fan-out.
    pub(super) waiting: u64,
}

impl Index {
    /// Appends a message that is live, and `bytes` long with its record.
    pub(super) fn append(&mut self, at: Position, bytes: u64) -> Slot {
        if !self.segments.contains_key(&at.segment) {
            self.seal();
        }
        let segment = self.segments.entry(at.segment).or_default();
        segment.offsets.push(at.offset);
        segment.live += 1;
        segment.bytes += bytes;
        Slot { segment: at.segment, ordinal: segment.len() - 1 }
    }

    /// Nothing more is appended to the last segment.
    fn seal(&mut self) {
        let Some(mut last) = self.segments.last_entry() else { return };
        if last.get().live == 0 {
            last.remove();
        } else {
            last.get_mut().offsets.shrink_to_fit();
        }
    }

    /// Where a message's record begins.
    pub(super) fn position(&self, slot: Slot) -> Option<Position> {
        let offset = self.segments.get(&slot.segment)?.offset(slot.ordinal)?;
        Some(Position { segment: slot.segment, offset })
    }

    /// Whether a message moved here after its fan-out.
    pub(super) fn was_moved(&self, slot: Slot) -> bool {
        self.segments.get(&slot.segment).is_some_and(|segment| segment.placed.get(slot.ordinal))
    }

    /// Which message's record begins there.
    pub(super) fn find(&self, at: Position) -> Option<Slot> {
        let ordinal = self.segments.get(&at.segment)?.find(at.offset)?;
        Some(Slot { segment: at.segment, ordinal })
    }

    /// Forgets a segment in which nothing is live, unless it may still be appended to.
    pub(super) fn forget(&mut self, segment: u32) {
        let is_last = self.segments.last_key_value().is_some_and(|(last, _)| *last == segment);
        if !is_last && self.segments.get(&segment).is_some_and(|segment| segment.live == 0) {
            self.segments.remove(&segment);
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put(out, self.segments.len() as u64);
        for (number, segment) in &self.segments {
            put(out, u64::from(*number));
            put(out, u64::from(segment.fanned));
            put(out, u64::from(segment.live));
            put(out, segment.bytes);
            encode_offsets(out, &segment.offsets);
            encode_bitmap(out, &segment.placed);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut index = Self::default();
        for _ in 0..reader.count(6)? {
            let number = reader.u32()?;
            let mut segment = TopicSegment { fanned: reader.u32()?, ..TopicSegment::default() };
            segment.live = reader.u32()?;
            segment.bytes = reader.u64()?;
            segment.offsets = decode_offsets(reader)?;
            segment.placed = decode_bitmap(reader)?;
            index.waiting +=
                segment.words().map(|word| u64::from(segment.waiting_word(word).count_ones())).sum::<u64>();
            index.segments.insert(number, segment);
        }
        Ok(index)
    }
}

/// Rising numbers as steps; equal steps, which records of one size make, once and with their count.
fn encode_offsets(out: &mut Vec<u8>, offsets: &[u32]) {
    put(out, offsets.len() as u64);
    let steps =
        std::iter::once(0).chain(offsets.iter().copied()).zip(offsets).map(|(before, at)| at - before);
    let mut run: Option<(u32, u64)> = None;
    for step in steps {
        match &mut run {
            Some((same, count)) if *same == step => *count += 1,
            _ => {
                encode_steps(out, run.replace((step, 1)));
            }
        }
    }
    encode_steps(out, run);
}

fn encode_steps(out: &mut Vec<u8>, run: Option<(u32, u64)>) {
    let Some((step, count)) = run else { return };
    put(out, u64::from(step) << 1 | u64::from(count > 1));
    if count > 1 {
        put(out, count);
    }
}

fn decode_offsets(reader: &mut Reader<'_>) -> Result<Vec<u32>, Malformed> {
    let count = usize::try_from(reader.u64()?).map_err(|_| Malformed)?;
    let mut offsets = Vec::new();
    let mut at = 0_u32;
    while offsets.len() < count {
        let step = reader.u64()?;
        let times = if step & 1 == 1 { reader.u64()? } else { 1 };
        let step = u32::try_from(step >> 1).map_err(|_| Malformed)?;
        let times = usize::try_from(times).ok().filter(|times| (1..=count - offsets.len()).contains(times));
        for _ in 0..times.ok_or(Malformed)? {
            at = at.checked_add(step).ok_or(Malformed)?;
            offsets.push(at);
        }
    }
    offsets.shrink_to_fit();
    Ok(offsets)
}

pub(super) fn encode_bitmap(out: &mut Vec<u8>, bits: &Bitmap) {
    put(out, bits.words().len() as u64);
    bits.words().iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
}

pub(super) fn decode_bitmap(reader: &mut Reader<'_>) -> Result<Bitmap, Malformed> {
    let count = reader.count(8)?;
    let (words, _) = reader.take(count * 8)?.as_chunks::<8>();
    Ok(Bitmap::from_words(words.iter().map(|word| u64::from_le_bytes(*word)).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(segment: u32, offset: u32) -> Position {
        Position { segment, offset }
    }

    #[test]
    fn a_message_is_found_by_its_position() {
        let mut index = Index::default();
        for offset in [64, 100, 101] {
            index.append(at(3, offset), 10);
        }
        let slot = index.append(at(9, 64), 10);
        assert_eq!(index.position(slot), Some(at(9, 64)));
        assert_eq!(index.find(at(3, 100)), Some(Slot { segment: 3, ordinal: 1 }));
        assert_eq!((index.find(at(3, 99)), index.find(at(4, 64))), (None, None));
    }

    #[test]
    fn what_is_dead_is_forgotten_but_not_where_more_may_come() {
        let mut index = Index::default();
        index.append(at(3, 64), 10);
        index.append(at(3, 80), 20);
        let segment = index.segments.get_mut(&3).expect("just made");
        assert_eq!((segment.bury(), segment.bury(), segment.bytes), (15, 15, 0));
        index.forget(3);
        assert!(index.segments.contains_key(&3));
        index.append(at(4, 64), 10);
        assert!(!index.segments.contains_key(&3));
    }

    #[test]
    fn it_comes_back_from_a_checkpoint() {
        let mut index = Index::default();
        let mut offset = 64;
        for step in [10, 10, 10, 70_000, 3, 3, 1_000_000] {
            offset += step;
            index.append(at(7, offset), u64::from(step));
        }
        index.append(at(8, 64), 5);
        let segment = index.segments.get_mut(&7).expect("just made");
        segment.fanned = 2;
        segment.placed.set(4);
        let mut bytes = Vec::new();
        index.encode(&mut bytes);
        let back = Index::decode(&mut Reader(&bytes)).expect("what was just written");
        assert_eq!(back.waiting, 4 + 1);
        assert_eq!(back.segments[&7].offsets, index.segments[&7].offsets);
        assert_eq!((back.segments[&7].live, back.segments[&7].bytes), (7, index.segments[&7].bytes));
        assert!(back.segments[&7].placed.get(4));
        for end in 0..bytes.len() {
            assert!(Index::decode(&mut Reader(&bytes[..end])).is_err());
        }
    }
}
