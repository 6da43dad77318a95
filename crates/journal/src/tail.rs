//! What was appended lately, in memory: waiting for the kernel, or kept for who reads soon.
//!
//! A row of chunks, each a piece of one segment. A record lies in one chunk whole, so a chunk ends before one that does
//! not fit, and a record larger than a chunk gets a chunk of its own. A chunk that falls out at the front is used again
//! at the back: at an even pace nothing is allocated.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::format::{self, RECORD_HEAD_BYTES, Salt};
use crate::position::Position;

/// Bytes of a chunk; so often an append may allocate.
const CHUNK_BYTES: usize = 256 * 1024;

#[derive(Debug)]
struct Chunk {
    segment: u32,
    /// Where its first byte stands in the segment.
    offset: u32,
    salt: Salt,
    bytes: Vec<u8>,
    /// Bytes of it that the kernel has.
    written: usize,
}

impl Chunk {
    fn end(&self) -> u32 {
        self.offset + self.bytes.len() as u32
    }
}

/// The newest records, in the order of the log.
#[derive(Debug)]
pub(crate) struct Tail {
    chunks: VecDeque<Chunk>,
    /// Kept in memory when all is written.
    bytes_max: usize,
    /// Allocated by all chunks.
    bytes: usize,
    unwritten: usize,
    /// One to take again.
    spare: Option<Vec<u8>>,
}

impl Tail {
    pub(crate) fn new(bytes_max: usize) -> Tail {
        Tail { chunks: VecDeque::new(), bytes_max, bytes: 0, unwritten: 0, spare: None }
    }

    /// Appends the record that stands at `at`.
    pub(crate) fn push(&mut self, at: Position, salt: Salt, length: u32, parts: &[&[u8]]) {
        let record = RECORD_HEAD_BYTES + length as usize;
        let fits = self.chunks.back().is_some_and(|chunk| {
            chunk.segment == at.segment
                && chunk.end() == at.offset
                && chunk.bytes.capacity() - chunk.bytes.len() >= record
        });
        if !fits {
            self.push_chunk(at, salt, record);
        }
        if let Some(chunk) = self.chunks.back_mut() {
            format::put_record(&mut chunk.bytes, salt, at.offset, length, parts);
            self.unwritten += record;
        }
    }

    fn push_chunk(&mut self, at: Position, salt: Salt, record: usize) {
        let wanted = record.max(CHUNK_BYTES);
        let spare = if wanted == CHUNK_BYTES { self.spare.take() } else { None };
        let bytes = spare.unwrap_or_else(|| Vec::with_capacity(wanted));
        self.bytes += bytes.capacity();
        self.chunks.push_back(Chunk { segment: at.segment, offset: at.offset, salt, bytes, written: 0 });
    }

    /// Bytes that the kernel does not have yet.
    pub(crate) fn unwritten(&self) -> usize {
        self.unwritten
    }

    /// The next bytes for the kernel, and where they go in the newest segment.
    pub(crate) fn next_unwritten(&self) -> Option<(u32, &[u8])> {
        let chunk = self.chunks.iter().rev().take_while(|chunk| chunk.written < chunk.bytes.len()).last()?;
        Some((chunk.offset + chunk.written as u32, &chunk.bytes[chunk.written..]))
    }

    /// The kernel has the first `bytes` of what [`Tail::next_unwritten`] gave.
    pub(crate) fn mark_written(&mut self, bytes: usize) {
        let unwritten = self.chunks.iter_mut().rev().take_while(|chunk| chunk.written < chunk.bytes.len());
        if let Some(chunk) = unwritten.last() {
            chunk.written += bytes;
            self.unwritten -= bytes;
        }
        self.drop_old();
    }

    /// The end of the last record that the kernel has whole, counted from the end of one, `from`.
    pub(crate) fn whole_until(&self, from: Position) -> Position {
        let mut at = from;
        for chunk in self.chunks.iter().filter(|chunk| chunk.segment == from.segment) {
            while at.offset >= chunk.offset && at.offset < chunk.end() {
                let record = &chunk.bytes[(at.offset - chunk.offset) as usize..];
                let Some(length) = format::claimed_length(record, chunk.salt) else { return at };
                let end = at.offset + format::record_bytes(length) as u32;
                if end > chunk.offset + chunk.written as u32 {
                    return at;
                }
                at.offset = end;
            }
        }
        at
    }

    /// Forgets every record from `from` on: they are lost.
    pub(crate) fn cut(&mut self, from: Position) {
        while let Some(chunk) = self.chunks.back_mut() {
            let starts = Position { segment: chunk.segment, offset: chunk.offset };
            if starts < from {
                if chunk.segment == from.segment {
                    chunk.bytes.truncate((from.offset - chunk.offset) as usize);
                }
                chunk.written = chunk.bytes.len();
                break;
            }
            self.bytes -= chunk.bytes.capacity();
            self.chunks.pop_back();
        }
        self.unwritten = 0;
    }

    /// The body of the record at `at`: a copy, since a slice would keep its whole chunk.
    pub(crate) fn read(&self, at: Position) -> Option<Bytes> {
        let behind = self
            .chunks
            .partition_point(|chunk| Position { segment: chunk.segment, offset: chunk.offset } <= at);
        let chunk = self.chunks.get(behind.checked_sub(1)?)?;
        if chunk.segment != at.segment || at.offset >= chunk.end() {
            return None;
        }
        let record = chunk.bytes.get((at.offset - chunk.offset) as usize..)?;
        let length = format::claimed_length(record, chunk.salt)? as usize;
        record.get(RECORD_HEAD_BYTES..RECORD_HEAD_BYTES + length).map(Bytes::copy_from_slice)
    }

    fn drop_old(&mut self) {
        while self.bytes > self.bytes_max {
            match self.chunks.front() {
                Some(chunk) if chunk.written == chunk.bytes.len() && self.chunks.len() > 1 => {}
                _ => return,
            }
            let Some(mut old) = self.chunks.pop_front() else { return };
            self.bytes -= old.bytes.capacity();
            if old.bytes.capacity() == CHUNK_BYTES {
                old.bytes.clear();
                self.spare = Some(old.bytes);
            }
        }
    }
}
