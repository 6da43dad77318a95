//! What a channel knows of one segment: which messages it was given, took out, and is done with.
//!
//! A view exists while the channel waits for something in the segment, so a channel that keeps up has one or two,
//! and a backlog that nobody has touched has no bits at all.

use super::bitmap::{Bitmap, mask};
use super::index::{TopicSegment, decode_bitmap, encode_bitmap};
use super::varint::{Malformed, Reader, put};

/// A channel's messages in one segment of the log.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    /// Messages before this ordinal are not the channel's: given before it was there, or done with long ago.
    pub(super) from: u32,
    /// Messages that the channel still waits for.
    pub(super) pending: u32,
    /// Messages that left the unread state.
    pub(super) taken: Bitmap,
    /// Messages that the channel is done with. All of them are taken too.
    pub(super) done: Bitmap,
}

impl View {
    /// Whether the channel waits for a message.
    pub(super) fn holds(&self, segment: &TopicSegment, ordinal: u32) -> bool {
        let given =
            if segment.placed.get(ordinal) { self.taken.get(ordinal) } else { ordinal < segment.fanned };
        ordinal >= self.from && given && !self.done.get(ordinal)
    }

    /// Whether it does, and has never handed it out.
    pub(super) fn is_unread(&self, segment: &TopicSegment, ordinal: u32) -> bool {
        (self.from..segment.fanned).contains(&ordinal)
            && !self.taken.get(ordinal)
            && !segment.placed.get(ordinal)
    }

    /// The messages of word `index` that the channel waits for.
    pub(super) fn pending_word(&self, segment: &TopicSegment, index: u32) -> u64 {
        let placed = segment.placed.word(index);
        let given = mask(index, self.from, segment.fanned) & !placed;
        let kept = mask(index, self.from, segment.len()) & placed & self.taken.word(index);
        (given | kept) & !self.done.word(index)
    }

    /// The first unread message from `start` on.
    pub(super) fn next_unread(&self, segment: &TopicSegment, start: u32) -> Option<u32> {
        let start = start.max(self.from);
        (start / Bitmap::WORD..segment.fanned.div_ceil(Bitmap::WORD)).find_map(|index| {
            let given = mask(index, start, segment.fanned);
            let unread = given & !self.taken.word(index) & !segment.placed.word(index);
            (unread != 0).then(|| index * Bitmap::WORD + unread.trailing_zeros())
        })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put(out, u64::from(self.from));
        put(out, u64::from(self.pending));
        encode_bitmap(out, &self.taken);
        encode_bitmap(out, &self.done);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (from, pending) = (reader.u32()?, reader.u32()?);
        Ok(Self { from, pending, taken: decode_bitmap(reader)?, done: decode_bitmap(reader)? })
    }
}
