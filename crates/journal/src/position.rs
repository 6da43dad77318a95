//! Where a record lies in the log.

use std::fmt;

/// The place of a record, or the end of one (then the first byte behind it). Ordered as the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Position {
    /// Number of the segment, from 1; 0 stands before everything.
    pub segment: u32,
    /// Bytes from the front of the segment's file.
    pub offset: u32,
}

impl Position {
    /// Before every record of every log.
    pub const START: Position = Position { segment: 0, offset: 0 };

    /// As one number with the same order, for an atomic or for a compact encoding.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        ((self.segment as u64) << 32) | self.offset as u64
    }

    /// The other way round.
    #[must_use]
    pub const fn from_u64(number: u64) -> Position {
        Position { segment: (number >> 32) as u32, offset: number as u32 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}:{}", self.segment, self.offset)
    }
}
