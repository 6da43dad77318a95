//! What can be chosen about a journal, and how a small file system caps it.

/// Never a smaller segment than this, however small the file system is.
pub(crate) const SEGMENT_BYTES_MIN: u32 = 64 * 1024;

/// Positions count bytes in 32 bits, and a segment may outgrow its size by one record.
pub(crate) const BYTES_MAX: u32 = 1 << 30;

/// A segment may take this share of the file system: what cannot be given back yet stays small against the whole.
const SEGMENT_SHARE: u64 = 16;

/// The reserve may take this share of the file system.
const RESERVE_SHARE: u64 = 8;

/// The bounds of a journal. `Default` is right for a queue on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Bytes at which a segment is sealed and the next one begun; at most 1/16 of the file system, at least 64 KiB.
    /// A record larger than that gets a segment of its own. Default 8 MiB.
    pub segment_bytes: u32,
    /// Largest record, in bytes without its head; at most 1 GiB. Default 64 MiB.
    pub record_bytes_max: u32,
    /// Recently appended bytes that are kept in memory, so that who reads soon after the append does not ask the
    /// kernel. Default 4 MiB.
    pub tail_bytes: usize,
    /// Free space that [`Class::Ordinary`](crate::Class) leaves to the others; at most 1/8 of the file system.
    /// Default 512 MiB.
    pub reserve_bytes: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            segment_bytes: 8 << 20,
            record_bytes_max: 64 << 20,
            tail_bytes: 4 << 20,
            reserve_bytes: 512 << 20,
        }
    }
}

impl Settings {
    /// The segment's size on a file system of `total` bytes.
    pub(crate) fn segment_bytes_on(&self, total: u64) -> u32 {
        let share = u32::try_from(total / SEGMENT_SHARE).unwrap_or(u32::MAX);
        self.segment_bytes.min(share).clamp(SEGMENT_BYTES_MIN, BYTES_MAX)
    }

    /// The reserve on a file system of `total` bytes.
    pub(crate) fn reserve_bytes_on(&self, total: u64) -> u64 {
        self.reserve_bytes.min(total / RESERVE_SHARE)
    }
}

#[cfg(test)]
mod tests {
    use super::{SEGMENT_BYTES_MIN, Settings};

    #[test]
    fn a_small_file_system_caps_segments_and_reserve() {
        let settings = Settings::default();
        assert_eq!(settings.segment_bytes_on(64 << 20), 4 << 20);
        assert_eq!(settings.reserve_bytes_on(64 << 20), 8 << 20);
        assert_eq!(settings.segment_bytes_on(100), SEGMENT_BYTES_MIN);
        assert_eq!(settings.segment_bytes_on(u64::MAX), 8 << 20);
    }
}
