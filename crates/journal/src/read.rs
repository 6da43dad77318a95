//! Single records by position: from memory while they are new, else with one read of the file, or two if they are large.
//!
//! A bounded number of sealed segments is kept open, the least recently read goes first; their salts are learned at the
//! first read, so a start touches only what lies behind the checkpoint.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::contents::segment_path;
use crate::error::ReadError;
use crate::file_system::{File, read_up_to};
use crate::format::{self, RECORD_HEAD_BYTES, Salt};
use crate::journal::Journal;
use crate::position::Position;
use crate::walk::read_head;

/// Sealed segments that are open at once.
const OPEN_FILES_MAX: usize = 64;

/// Bytes that the first read of a record asks for: most records are smaller.
const FIRST_READ_BYTES: usize = 4096;

#[derive(Debug, Clone)]
struct OpenFile {
    number: u32,
    file: Arc<dyn File>,
    salt: Salt,
}

/// Sealed segments that were read lately, the latest at the end.
#[derive(Debug, Default)]
pub(crate) struct OpenFiles(Vec<OpenFile>);

impl OpenFiles {
    fn get(&mut self, number: u32) -> Option<OpenFile> {
        let at = self.0.iter().rposition(|open| open.number == number)?;
        self.0[at..].rotate_left(1);
        self.0.last().cloned()
    }

    fn put(&mut self, open: OpenFile) {
        if self.0.len() == OPEN_FILES_MAX {
            self.0.remove(0);
        }
        self.0.push(open);
    }

    pub(crate) fn forget(&mut self, number: u32) {
        self.0.retain(|open| open.number != number);
    }
}

impl Journal {
    /// The record at `at`, verified, as a copy of its own.
    ///
    /// # Errors
    /// By what remains of it.
    pub fn read(&self, at: Position) -> Result<Bytes, ReadError> {
        if at.offset >= self.records_end(at.segment) {
            return Err(ReadError::Gone { at });
        }
        if let Some(body) = self.tail.read(at) {
            return Ok(body);
        }
        let (file, salt) = self.open_segment(at.segment).map_err(|error| error.at(at))?;
        let body = read_record(&*file, salt, at.offset).map_err(|source| ReadError::Io { at, source })?;
        body.ok_or(ReadError::Damaged { at })
    }

    /// End of the records of a segment; 0 if there is none.
    pub(crate) fn records_end(&self, segment: u32) -> u32 {
        match &self.active {
            Some(active) if active.number == segment => active.end,
            _ => self.sealed.get(&segment).map_or(0, |segment| segment.bytes),
        }
    }

    /// Its file, and what its records are salted with.
    pub(crate) fn open_segment(&self, number: u32) -> Result<(Arc<dyn File>, Salt), Unopened> {
        if let Some(active) = self.active.as_ref().filter(|active| active.number == number) {
            return Ok((Arc::clone(&active.file), active.salt));
        }
        let mut files = self.files.borrow_mut();
        if let Some(open) = files.get(number) {
            return Ok((open.file, open.salt));
        }
        let file = self.fs.open(&segment_path(&self.dir, number)).map_err(Unopened::Io)?;
        let head = read_head(&*file, number).map_err(Unopened::Io)?.map_err(|_| Unopened::Damaged)?;
        files.put(OpenFile { number, file: Arc::clone(&file), salt: head.salt });
        Ok((file, head.salt))
    }

    pub(crate) fn forget_file(&self, number: u32) {
        self.files.borrow_mut().forget(number);
    }
}

/// A segment that cannot be read at all.
pub(crate) enum Unopened {
    Io(io::Error),
    Damaged,
}

impl Unopened {
    pub(crate) fn at(self, at: Position) -> ReadError {
        match self {
            Unopened::Io(error) if error.kind() == io::ErrorKind::NotFound => ReadError::Gone { at },
            Unopened::Io(source) => ReadError::Io { at, source },
            Unopened::Damaged => ReadError::Damaged { at },
        }
    }
}

/// `None`: what stands there is no whole record.
fn read_record(file: &dyn File, salt: Salt, offset: u32) -> io::Result<Option<Bytes>> {
    let mut first = [0; FIRST_READ_BYTES];
    let have = read_up_to(file, &mut first, u64::from(offset))?;
    let first = &first[..have];
    let Some(length) = format::claimed_length(first, salt) else { return Ok(None) };
    let bytes = format::record_bytes(length);
    if bytes as usize <= have {
        let record = &first[..bytes as usize];
        let whole = format::is_whole(record, salt, offset);
        return Ok(whole.then(|| Bytes::copy_from_slice(&record[RECORD_HEAD_BYTES..])));
    }
    if u64::from(offset) + bytes > file.size()? {
        return Ok(None);
    }
    let mut record = BytesMut::zeroed(bytes as usize);
    record[..have].copy_from_slice(first);
    let rest = read_up_to(file, &mut record[have..], u64::from(offset) + have as u64)?;
    let record = record.freeze();
    let whole = have + rest == record.len() && format::is_whole(&record, salt, offset);
    Ok(whole.then(|| format::body_of(&record, length)))
}
