//! A durable log in a directory: append, group commit, recover, retire.
//!
//! The log is a row of segments, files that only grow at the end. A record is bytes; the journal gives it a
//! [`Position`], keeps it whole or says that it is lost, and knows nothing of what it means. Whoever builds on it is a
//! state machine: the records in their order make its state, a checkpoint is that state, written down, at one
//! position, and a start is the newest checkpoint and the records behind it.
//!
//! ```text
//!  append ──► memory ──► write ──► kernel ──► SyncJob::run ──► disk          Replay ◄── checkpoint + records behind it
//!             end()               written()   (any thread)    durable()      read   ◄── memory, or one read of the file
//! ```
//!
//! - **An append is memory only**, and never allocates but once per 256 KiB. Who needs it durable waits until
//!   [`Journal::durable`] has reached what [`Journal::end`] was behind the append; one sync serves all who wait.
//! - **What is refused leaves no trace.** The space of an ordinary record is allocated in its file before the record is
//!   taken, so a full disk is met at the door and not half way.
//! - **A failed sync is final.** The records under it are [`Lost`], their segment is sealed, and the log goes on in a new
//!   one. Nothing is synced again as if it had worked: the kernel may have dropped the pages.
//! - **Damage costs the record that it hits.** Every record carries a checksum and a mark to find the next one by, both
//!   salted per segment, so that no body can pose as a record. What cannot be read is copied aside.
//! - **Nothing is unlinked that any kept checkpoint could need**, and two are kept, so a damaged checkpoint costs
//!   nothing either.
//!
//! | module | one job |
//! |---|---|
//! | [`format`](mod@format) | the bytes on disk, version by version: start here |
//! | [`file_system`] | the one place that names the file system |
//! | `disk` | the real one |
//! | `simulated` | one that crashes, fills and fails as a test says (feature `simulated`) |
//! | `directory` | the journal's directory, made durably |
//! | `journal` | appending and writing: [`Journal`] |
//! | `active` | the segment that is being written, and its room |
//! | `tail` | what was appended lately, in memory |
//! | `sync` | group commit, and what is lost when it fails |
//! | `read` | single records by position |
//! | `walk` | all records of a segment, past damage |
//! | `checkpoint`, `retire` | checkpoints, and the segments that they free |
//! | `room`, `spare` | who may have what is left of the disk, and space that is kept for checkpoints |
//! | `replay` | a start: the way back to the state |
//! | `write_back` | what a failed sync left in the page cache, and the next start |
//! | `aside` | copies of what could not be read |
//!
//! Rejected: an existing crate. An LSM or B-tree store pays for deletes and random order, which a queue has no use for
//! (measured: 4 to 9 times the CPU per message, and 1.5 to 48 times the bytes written); the write-ahead logs found have
//! no checksum over the head, no group commit, or no maintainer.

mod active;
mod aside;
mod checkpoint;
mod contents;
mod directory;
mod disk;
mod error;
pub mod file_system;
pub mod format;
mod journal;
mod position;
mod read;
mod replay;
mod retire;
mod room;
mod settings;
#[cfg(feature = "simulated")]
pub mod simulated;
mod spare;
mod sync;
mod tail;
mod walk;
mod write_back;

pub use checkpoint::{CheckpointDone, CheckpointJob};
pub use disk::Disk;
pub use error::{AppendError, CheckpointError, Lost, OpenError, ReadError, RetireError, WriteError};
pub use file_system::{DiskSpace, Entry, File, FileSystem, Lock};
pub use journal::{Class, Journal, SegmentState};
pub use position::Position;
pub use replay::{Recovery, Replay};
pub use room::Space;
pub use settings::Settings;
pub use sync::{SyncDone, SyncJob};
