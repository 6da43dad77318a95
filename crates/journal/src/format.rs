//! The bytes on disk. Version 1. All numbers are little-endian; every checksum is CRC32C.
//!
//! | file | is |
//! |---|---|
//! | `NNNNNNNN.segment` | a piece of the log; its number in hex, from 1; one that had a durable record is not used again |
//! | `NNNNNNNN.checkpoint` | a state at a position; its sequence number in hex. The newest two are kept |
//! | `checkpoint.tmp` | a checkpoint that is being written; worth nothing |
//! | `journal.spare` | zeros: space kept for checkpoints while the disk is nearly full |
//! | `journal.unsynced` | empty: a sync has failed, so the next start writes again what it reads |
//! | `journal.lock` | locked while the journal is open |
//! | `*.damaged`, `*.torn` | copies of what could not be read, for people |
//!
//! A **head** stands at the front of segments and checkpoints. Its first 16 bytes stay as they are in every version, so
//! that a newer file can be told from a damaged one.
//! ```text
//!  0  8  magic: "jrnl-seg" or "jrnl-chk"
//!  8  4  version
//! 12  4  checksum of bytes 0..12
//! 16  4  segment: its number            checkpoint: segment of the position that it covers
//! 20  8  segment: its salt              checkpoint: offset of that position (4), bytes of state / 2^32 (4)
//! 28  4  segment: follows, its segment  checkpoint: bytes of state, the low 32 bits
//! 32  4  segment: follows, its offset   checkpoint: checksum of the state
//! 36  4  checksum of bytes 0..36
//! ```
//! A **segment** has its head twice, at 0 and at 512 (two blocks of the disk: its records are worth nothing without the
//! salt), then records from 1024 on, with nothing between them, then zeros: space that is allocated ahead. A sealed
//! segment is cut to its last record. What a segment **follows** is the end of the log as it was begun: records between
//! there and here were lost to a disk that failed, and refused, and are void should they turn up after all.
//!
//! A **record**:
//! ```text
//!  0  4  mark: the salt's high half, never 0
//!  4  4  length of the body
//!  8  4  checksum of length and body, begun with (the salt's low half xor the record's offset)
//! 12  .  body
//! ```
//! The salt is random and known to nobody outside the file, so whoever writes bodies must guess 64 bits to make one that
//! reads as a record, where a damaged record makes a search for the next mark run through it; and since the offset is
//! part of the sum, a record is one only where it was written. The file ends where no valid record follows: what is not
//! zero there is a torn tail, what has a valid record behind it is damage.
//!
//! A **checkpoint** is its head, then at 64 the state, which must end the file.
//!
//! Rejected: blocks with a log of fragments in them (resynchronising is cheaper, but 4 KiB blocks cost a header each
//! and a copy per record that crosses one); a footer with an index (a segment is read in order, or by position).

use bytes::Bytes;
use crc32c::{crc32c, crc32c_append};

use crate::position::Position;

/// The version that is written, and the newest that is read.
pub const VERSION: u32 = 1;

/// Where the first record of a segment stands.
pub const RECORDS_AT: u32 = 1024;

/// Bytes before the body of each record.
pub const RECORD_HEAD_BYTES: usize = 12;

/// Where a segment's head stands the second time.
pub(crate) const SECOND_HEAD_AT: u64 = 512;

/// Where a checkpoint's state begins.
pub(crate) const STATE_AT: u64 = 64;

pub(crate) const HEAD_BYTES: usize = 40;

const SEGMENT_MAGIC: &[u8; 8] = b"jrnl-seg";
const CHECKPOINT_MAGIC: &[u8; 8] = b"jrnl-chk";

/// What makes the records of one segment its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Salt(u64);

impl Salt {
    /// From a random number. The mark must not be 0, which is what stands behind the end.
    pub(crate) fn new(random: u64) -> Salt {
        Salt(if random >> 32 == 0 { random | (0x9e37_79b9 << 32) } else { random })
    }

    /// The first bytes of each record.
    pub(crate) fn mark(self) -> [u8; 4] {
        ((self.0 >> 32) as u32).to_le_bytes()
    }

    fn seed(self, offset: u32) -> u32 {
        self.0 as u32 ^ offset
    }
}

/// A segment's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHead {
    pub(crate) salt: Salt,
    /// The end of the log as the segment was begun.
    pub(crate) follows: Position,
}

/// Why a head is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadHead {
    /// Written by a later version of the program.
    Newer(u32),
    /// Damaged, or no head at all.
    Damaged,
}

/// A checkpoint's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CheckpointHead {
    pub(crate) covers: Position,
    pub(crate) state_bytes: u64,
    pub(crate) state_sum: u32,
}

/// The head of segment `number`.
pub(crate) fn segment_head(number: u32, salt: Salt, follows: Position) -> [u8; HEAD_BYTES] {
    let mut head = begin_head(SEGMENT_MAGIC);
    put(&mut head, 16, number);
    put(&mut head, 20, salt.0 as u32);
    put(&mut head, 24, (salt.0 >> 32) as u32);
    put(&mut head, 28, follows.segment);
    put(&mut head, 32, follows.offset);
    end_head(head)
}

/// The head of segment `number` from the first [`RECORDS_AT`] bytes of its file, by whichever head is whole.
pub(crate) fn parse_segment_heads(front: &[u8], number: u32) -> Result<SegmentHead, BadHead> {
    let mut newer = None;
    for at in [0, SECOND_HEAD_AT as usize] {
        match front.get(at..).map(|bytes| parse_segment_head(bytes, number)) {
            Some(Ok(head)) => return Ok(head),
            Some(Err(BadHead::Newer(version))) => newer = Some(version),
            Some(Err(BadHead::Damaged)) | None => {}
        }
    }
    Err(newer.map_or(BadHead::Damaged, BadHead::Newer))
}

fn parse_segment_head(bytes: &[u8], number: u32) -> Result<SegmentHead, BadHead> {
    let head = check_head(bytes, SEGMENT_MAGIC)?;
    let salt = u64::from(number_at(head, 20)) | (u64::from(number_at(head, 24)) << 32);
    let follows = Position { segment: number_at(head, 28), offset: number_at(head, 32) };
    let fits = number_at(head, 16) == number && salt >> 32 != 0 && follows.segment < number;
    if fits { Ok(SegmentHead { salt: Salt(salt), follows }) } else { Err(BadHead::Damaged) }
}

/// The head of a checkpoint of `state`.
pub(crate) fn checkpoint_head(covers: Position, state: &[u8]) -> [u8; HEAD_BYTES] {
    let mut head = begin_head(CHECKPOINT_MAGIC);
    put(&mut head, 16, covers.segment);
    put(&mut head, 20, covers.offset);
    put(&mut head, 24, (state.len() as u64 >> 32) as u32);
    put(&mut head, 28, state.len() as u32);
    put(&mut head, 32, crc32c(state));
    end_head(head)
}

/// Reads the front of a checkpoint.
pub(crate) fn parse_checkpoint_head(front: &[u8]) -> Result<CheckpointHead, BadHead> {
    let head = check_head(front, CHECKPOINT_MAGIC)?;
    Ok(CheckpointHead {
        covers: Position { segment: number_at(head, 16), offset: number_at(head, 20) },
        state_bytes: (u64::from(number_at(head, 24)) << 32) | u64::from(number_at(head, 28)),
        state_sum: number_at(head, 32),
    })
}

/// Appends a record that will stand at `offset` to `into`. `length` is that of all `parts`.
pub(crate) fn put_record(into: &mut Vec<u8>, salt: Salt, offset: u32, length: u32, parts: &[&[u8]]) {
    let length = length.to_le_bytes();
    let mut sum = crc32c_append(salt.seed(offset), &length);
    for part in parts {
        sum = crc32c_append(sum, part);
    }
    into.extend_from_slice(&salt.mark());
    into.extend_from_slice(&length);
    into.extend_from_slice(&sum.to_le_bytes());
    for part in parts {
        into.extend_from_slice(part);
    }
}

/// The length of the body that a record's head claims; `None`: this is no head of a record of this segment.
pub(crate) fn claimed_length(head: &[u8], salt: Salt) -> Option<u32> {
    (head.len() >= RECORD_HEAD_BYTES && head[..4] == salt.mark()).then(|| number_at(head, 4))
}

/// Whether the bytes of a record, head and body, are what was written at `offset`.
pub(crate) fn is_whole(record: &[u8], salt: Salt, offset: u32) -> bool {
    let Some((head, body)) = record.split_at_checked(RECORD_HEAD_BYTES) else { return false };
    head[..4] == salt.mark()
        && number_at(head, 4) as usize == body.len()
        && number_at(head, 8) == crc32c_append(crc32c_append(salt.seed(offset), &head[4..8]), body)
}

/// The body of a record whose head claims it, out of bytes that begin with the record and may go on behind it.
pub(crate) fn body_of(bytes: &Bytes, length: u32) -> Bytes {
    bytes.slice(RECORD_HEAD_BYTES..RECORD_HEAD_BYTES + length as usize)
}

/// The bytes of a record with a body of `length`.
pub(crate) fn record_bytes(length: u32) -> u64 {
    RECORD_HEAD_BYTES as u64 + u64::from(length)
}

/// `state` has what its head promised.
pub(crate) fn is_state(head: &CheckpointHead, state: &[u8]) -> bool {
    head.state_bytes == state.len() as u64 && head.state_sum == crc32c(state)
}

fn begin_head(magic: &[u8; 8]) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..8].copy_from_slice(magic);
    put(&mut head, 8, VERSION);
    let sum = crc32c(&head[..12]);
    put(&mut head, 12, sum);
    head
}

fn end_head(mut head: [u8; HEAD_BYTES]) -> [u8; HEAD_BYTES] {
    let sum = crc32c(&head[..HEAD_BYTES - 4]);
    put(&mut head, HEAD_BYTES - 4, sum);
    head
}

/// The head at the front of `bytes`, if it is one of this version.
fn check_head<'a>(bytes: &'a [u8], magic: &[u8; 8]) -> Result<&'a [u8], BadHead> {
    let first = bytes.get(..16).ok_or(BadHead::Damaged)?;
    if first[..8] != *magic || number_at(first, 12) != crc32c(&first[..12]) {
        return Err(BadHead::Damaged);
    }
    let version = number_at(first, 8);
    if version > VERSION {
        return Err(BadHead::Newer(version));
    }
    let head = bytes.get(..HEAD_BYTES).ok_or(BadHead::Damaged)?;
    let whole = version != 0 && number_at(head, HEAD_BYTES - 4) == crc32c(&head[..HEAD_BYTES - 4]);
    if whole { Ok(head) } else { Err(BadHead::Damaged) }
}

fn put(head: &mut [u8; HEAD_BYTES], at: usize, number: u32) {
    head[at..at + 4].copy_from_slice(&number.to_le_bytes());
}

fn number_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_version_1_stay_as_they_are() {
        let salt = Salt::new(0x0102_0304_0506_0708);
        let head = segment_head(7, salt, Position { segment: 6, offset: 9 });
        assert_eq!(&head[..12], b"jrnl-seg\x01\0\0\0");
        assert_eq!(&head[16..36], b"\x07\0\0\0\x08\x07\x06\x05\x04\x03\x02\x01\x06\0\0\0\x09\0\0\0");
        let mut record = Vec::new();
        put_record(&mut record, salt, 1024, 5, &[b"he", b"", b"llo"]);
        assert_eq!(&record[..8], b"\x04\x03\x02\x01\x05\0\0\0");
        assert_eq!(&record[12..], b"hello");
        // Bit by bit, so that a change of the library behind it shows.
        let mut sum = !(0x0506_0708_u32 ^ 1024);
        for byte in b"\x05\0\0\0hello" {
            sum ^= u32::from(*byte);
            for _ in 0..8 {
                sum = if sum & 1 == 1 { (sum >> 1) ^ 0x82f6_3b78 } else { sum >> 1 };
            }
        }
        assert_eq!(number_at(&record, 8), !sum);
    }

    #[test]
    fn a_record_is_one_only_where_and_under_the_salt_it_was_written() {
        let salt = Salt::new(0x1111_2222_3333_4444);
        let mut record = Vec::new();
        put_record(&mut record, salt, 2048, 4, &[b"body"]);
        assert!(is_whole(&record, salt, 2048));
        assert!(!is_whole(&record, salt, 2049));
        assert!(!is_whole(&record, Salt::new(0x1111_2222_3333_4445), 2048));
        for bit in 0..record.len() * 8 {
            let mut flipped = record.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_whole(&flipped, salt, 2048), "bit {bit}");
        }
    }

    #[test]
    fn one_whole_head_of_two_is_enough_and_a_newer_one_is_told_from_damage() {
        let salt = Salt::new(9 << 32 | 5);
        let head = SegmentHead { salt, follows: Position { segment: 1, offset: 2000 } };
        let mut front = vec![0; RECORDS_AT as usize];
        for at in [0, 512] {
            front[at..at + HEAD_BYTES].copy_from_slice(&segment_head(3, salt, head.follows));
        }
        for bit in 0..RECORDS_AT as usize * 8 {
            let mut flipped = front.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse_segment_heads(&flipped, 3), Ok(head), "bit {bit}");
        }
        assert_eq!(parse_segment_heads(&front, 4), Err(BadHead::Damaged), "a file under another's name");
        for at in [0, 512] {
            put_newer(&mut front[at..]);
        }
        assert_eq!(parse_segment_heads(&front, 3), Err(BadHead::Newer(VERSION + 1)));
    }

    /// As a later version would: only the first 16 bytes are as they are today.
    fn put_newer(front: &mut [u8]) {
        front[8..12].copy_from_slice(&(VERSION + 1).to_le_bytes());
        let sum = crc32c(&front[..12]);
        front[12..16].copy_from_slice(&sum.to_le_bytes());
        front[16..HEAD_BYTES].fill(0xee);
    }
}
