//! All records of a segment in their order, past what is damaged.
//!
//! The file is read in windows, and records are slices of them, so a walk costs little memory however large the segment.
//! Where no record stands, the next mark is looked for that has a valid record behind it; a block that the disk cannot
//! read counts as zeros, and so as damage.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::file_system::{File, read_past_errors, read_up_to};
use crate::format::{self, BadHead, RECORD_HEAD_BYTES, Salt, SegmentHead};

/// Bytes read at once, unless a record is larger.
const WINDOW_BYTES: usize = 256 * 1024;

/// What comes next in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A record: where it stands, its body.
    Record(u32, Bytes),
    /// Bytes that are no record, with one behind them.
    Damaged { from: u32, to: u32 },
    /// Where the records end, and where the last byte behind them that is not zero does.
    End { at: u32, rest_until: u32 },
}

#[derive(Debug)]
pub(crate) struct Walk {
    file: Arc<dyn File>,
    salt: Salt,
    at: u32,
    file_bytes: u32,
    window: Bytes,
    window_at: u32,
    /// Bytes that the disk did not give.
    pub(crate) unreadable: u64,
}

impl Walk {
    /// From the record at `from`, of a file in which `file_bytes` count.
    pub(crate) fn new(file: Arc<dyn File>, salt: Salt, from: u32, file_bytes: u32) -> Walk {
        Walk { file, salt, at: from, file_bytes, window: Bytes::new(), window_at: from, unreadable: 0 }
    }

    pub(crate) fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    /// Where the file ends, as far as it counts.
    pub(crate) fn end(&self) -> u32 {
        self.file_bytes
    }

    pub(crate) fn step(&mut self) -> Step {
        let at = self.at;
        if let Some(body) = self.record_at(at) {
            self.at += format::record_bytes(body.len() as u32) as u32;
            return Step::Record(at, body);
        }
        match self.search(at.saturating_add(1)) {
            Some(next) => {
                self.at = next;
                Step::Damaged { from: at, to: next }
            }
            None => Step::End { at, rest_until: self.last_not_zero(at) },
        }
    }

    /// The body of the record that stands at `at`, if a whole one does.
    fn record_at(&mut self, at: u32) -> Option<Bytes> {
        let head = self.fetch(at, RECORD_HEAD_BYTES);
        let length = format::claimed_length(&head, self.salt)?;
        let bytes = format::record_bytes(length);
        if u64::from(at) + bytes > u64::from(self.file_bytes) {
            return None;
        }
        let record = self.fetch(at, bytes as usize).slice(..bytes as usize);
        format::is_whole(&record, self.salt, at).then(|| format::body_of(&record, length))
    }

    /// The first record at `from` or behind.
    fn search(&mut self, mut from: u32) -> Option<u32> {
        let mark = self.salt.mark();
        while u64::from(from) + RECORD_HEAD_BYTES as u64 <= u64::from(self.file_bytes) {
            let window = self.fetch(from, RECORD_HEAD_BYTES);
            match memchr::memmem::find(&window, &mark) {
                Some(found) => {
                    let candidate = from + found as u32;
                    if self.record_at(candidate).is_some() {
                        return Some(candidate);
                    }
                    from = candidate + 1;
                }
                // A mark may begin in this window and end in the next.
                None => from += (window.len() - (mark.len() - 1)) as u32,
            }
        }
        None
    }

    /// Where the last byte from `at` on that is not zero ends; `at` when there is none.
    fn last_not_zero(&mut self, at: u32) -> u32 {
        let mut until = self.file_bytes.max(at);
        while until > at {
            let from = until.saturating_sub(WINDOW_BYTES as u32).max(at);
            let wanted = (until - from) as usize;
            let window = self.fetch(from, wanted);
            let window = window.get(..wanted).unwrap_or(&window);
            if let Some(last) = window.iter().rposition(|byte| *byte != 0) {
                return from + last as u32 + 1;
            }
            until = from;
        }
        at
    }

    /// At least `wanted` bytes from `at` on, and all that the window has behind them; less where the file ends.
    fn fetch(&mut self, at: u32, wanted: usize) -> Bytes {
        let have = at.checked_sub(self.window_at).map(|skip| skip as usize);
        let have = have.filter(|skip| skip + wanted <= self.window.len());
        if let Some(skip) = have {
            return self.window.slice(skip..);
        }
        let left = self.file_bytes.saturating_sub(at) as usize;
        let mut window = BytesMut::zeroed(wanted.max(WINDOW_BYTES).min(left));
        self.unreadable += read_past_errors(&*self.file, &mut window, u64::from(at));
        self.window = window.freeze();
        self.window_at = at;
        self.window.clone()
    }
}

/// The head of segment `number`, from its file.
pub(crate) fn read_head(file: &dyn File, number: u32) -> io::Result<Result<SegmentHead, BadHead>> {
    let mut front = [0; format::RECORDS_AT as usize];
    let have = read_up_to(file, &mut front, 0)?;
    Ok(format::parse_segment_heads(&front[..have], number))
}
