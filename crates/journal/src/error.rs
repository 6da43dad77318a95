//! What can go wrong, by what the caller does about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::position::Position;

/// The journal could not be opened. Nothing was changed for good.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process (or another journal of this one) has it open.
    #[error("{} is in use by another process", .dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// A later version of the program wrote this file. Going on without it would lose what it holds.
    #[error("{} is of format version {found}; this program knows versions up to {known}: start the newer program", .file.display())]
    NewerVersion {
        /// The first such file.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
    /// The file system refused.
    #[error("{doing} {}: {source}", .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
}

impl OpenError {
    /// For `map_err`: names what was being done to which file.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
        let path = path.to_owned();
        move |source| OpenError::Io { doing, path, source }
    }
}

/// A record was not taken. The log is as it was before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// No space, or only what is kept in reserve. Goes away by itself once there is space and
    /// [`Journal::space`](crate::Journal::space) has been asked.
    #[error("the disk is full: {free} bytes free, {reserve} of them kept in reserve")]
    Full {
        /// Bytes free, as far as known.
        free: u64,
        /// Bytes of that which ordinary records may not use.
        reserve: u64,
    },
    /// The record is over the bound.
    #[error("a record of {bytes} bytes is over the limit of {max}")]
    TooLarge {
        /// Its bytes.
        bytes: u64,
        /// The bound.
        max: u32,
    },
    /// The next segment could not be begun.
    #[error("the next segment could not be begun: {reason}")]
    Io {
        /// The file system's words.
        reason: String,
    },
    /// What had been appended before could not be handed to the kernel, which showed only now. Refuse who waits for
    /// it, then this record.
    #[error(transparent)]
    Lost(#[from] Lost),
}

/// Records were appended and will never be durable: the disk failed under them. Who waits for one of `from..to` must
/// be refused; reading one gives [`ReadError::Gone`]. Segments that were retired since `from` are not retired any more. The
/// log goes on in a new segment.
///
/// They may still be in a file, and come back with the next start: to the one who was refused, the outcome is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the records from {from} to {to} could not be stored: {reason}")]
pub struct Lost {
    /// The first lost record, or the end of the one before it.
    pub from: Position,
    /// The end of the last lost record.
    pub to: Position,
    /// The file system's words.
    pub reason: String,
}

/// Appended records did not reach the kernel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// No space. They stay in memory, in order, and go with the next write that finds space. Only records of
    /// [`Class::Reserved`](crate::Class) get here on file systems that overwrite in place.
    #[error("the disk is full; what was appended waits in memory")]
    Full,
    /// The disk failed.
    #[error(transparent)]
    Lost(#[from] Lost),
}

/// A record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Its segment is retired, or it was [`Lost`], or it never was.
    #[error("there is no record at {at}")]
    Gone {
        /// Where it was looked for.
        at: Position,
    },
    /// It is there and its checksum does not fit.
    #[error("the record at {at} is damaged")]
    Damaged {
        /// Where it lies.
        at: Position,
    },
    /// The file system refused.
    #[error("reading the record at {at}: {source}")]
    Io {
        /// Where it lies.
        at: Position,
        /// Its answer.
        source: io::Error,
    },
}

/// A checkpoint was not made. The one before it stays the newest; try again later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The job was run before the log was durable as far as the checkpoint covers it.
    #[error("a checkpoint up to {covers} while the log is durable up to {durable} only")]
    NotDurable {
        /// What the checkpoint covers.
        covers: Position,
        /// What was durable when it ran.
        durable: Position,
    },
    /// There is one under way.
    #[error("a checkpoint is under way")]
    UnderWay,
    /// Appended records did not reach the kernel, so nothing may cover them.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// No space, or the disk failed.
    #[error("the checkpoint could not be stored: {reason}")]
    Io {
        /// The file system's words.
        reason: String,
    },
}

/// A segment was not retired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RetireError {
    /// There is no such segment (any more).
    #[error("there is no segment {0}")]
    Unknown(u32),
    /// It is still being written.
    #[error("segment {0} is not sealed")]
    NotSealed(u32),
}

/// Does this error go away when there is space?
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
