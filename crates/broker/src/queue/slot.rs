//! Where a message stands in its topic: a segment of the log, and which of the topic's messages there it is.
//!
//! A slot is for memory and checkpoints, beside the index that gives it its meaning. Records never hold one: they
//! name messages by [`journal::Position`].

/// Eight bytes that name a message of a topic. In the order of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Slot {
    /// The segment's number.
    pub(super) segment: u32,
    /// Counted over the topic's messages in that segment, from 0.
    pub(super) ordinal: u32,
}
