//! What the queue's parts share: the state, the journal under it, and who waits for what.
//!
//! The rule that everything here serves: the state is what the log says, or will say by its next sync. Where that
//! fails (records were appended and are lost) the queue is in doubt: it takes nothing new, and goes on only once a
//! checkpoint holds the state, so that nothing depends on the records that are lost.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use journal::{AppendError, Class, Journal, Lost, Position, Space, WriteError};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use super::Commit;
use super::clock::Clock;
use super::commits::Commits;
use super::error::{Bound, CloseError, Refused};
use super::ids::ReservedIds;
use super::record::{Record, SETTLES};
use super::rewrite::Rewriting;
use super::settle::Settles;
use super::state::State;
use super::stats::{Change, QueueCounters};
use super::unread::Unread;
use crate::settings::Settings;

/// Settles are appended when they come to this many bytes, however long the next commit takes.
const SETTLES_BYTES_MAX: usize = 32 * 1024;
/// Settles are synced this long after they happened, if no commit took them along before.
pub(super) const SETTLES_SYNC_MS: u64 = 100;

/// The queue.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) settings: Settings,
    pub(super) journal: Journal,
    pub(super) state: State,
    pub(super) clock: Clock,
    pub(super) commits: Commits,
    pub(super) settles: Settles,
    /// When the settles must be synced, ms.
    pub(super) settles_due_ms: Option<u64>,
    /// Whether settles were appended that the kernel does not have.
    unwritten: bool,
    /// Something waits for a sync.
    pub(super) commit_wanted: bool,
    /// Batches whose sync has begun, or has covered only a part of them: number, end, the channels given something.
    pub(super) batches: VecDeque<(u64, Position, Vec<u32>)>,
    /// What the disk has left, asked once a second.
    pub(super) room: Space,
    /// Publishes and changes are refused: it will stop.
    pub(super) exiting: bool,
    /// It stops.
    pub(super) stopping: bool,
    /// It has stopped.
    pub(super) closed: Option<Result<(), CloseError>>,
    /// Why the log lacks something that the state has.
    pub(super) doubt: Option<String>,
    /// Topics or channels were made, deleted, emptied or paused since the last checkpoint was begun.
    pub(super) changed: bool,
    /// Segments that the start had to read.
    pub(super) replayed_segments: u64,
    pub(super) rewriting: Rewriting,
    pub(super) ids: ReservedIds,
    pub(super) counters: QueueCounters,
    /// Messages that the disk does not give just now.
    pub(super) unread: Unread,
    pub(super) subscriptions: u64,
    pub(super) changes: Vec<UnboundedSender<Change>>,
    /// Wakes the driver.
    pub(super) driver: Rc<Notify>,
    /// Wakes who waits for the end.
    pub(super) end: Rc<Notify>,
    /// For encoding records.
    pub(super) scratch: Vec<u8>,
    /// A flaw to be found by tests: commits are granted before their sync.
    #[cfg(any(test, feature = "flaws"))]
    pub(super) grants_before_sync: bool,
}

/// The queue, shared.
pub(super) type Shared = Rc<RefCell<Core>>;

impl Core {
    pub(super) fn new(settings: Settings, journal: Journal, state: State, clock: Clock) -> Self {
        let room = journal.space();
        Self {
            settings,
            journal,
            state,
            clock,
            commits: Commits::default(),
            settles: Settles::default(),
            settles_due_ms: None,
            unwritten: false,
            commit_wanted: false,
            batches: VecDeque::new(),
            room,
            exiting: false,
            stopping: false,
            closed: None,
            doubt: None,
            changed: false,
            replayed_segments: 0,
            rewriting: Rewriting::default(),
            ids: ReservedIds::default(),
            counters: QueueCounters::default(),
            unread: Unread::default(),
            subscriptions: 0,
            changes: Vec::new(),
            driver: Rc::default(),
            end: Rc::default(),
            scratch: Vec::new(),
            #[cfg(any(test, feature = "flaws"))]
            grants_before_sync: false,
        }
    }

    /// Whether anything new is taken.
    pub(super) fn may_append(&self) -> Result<(), Refused> {
        if self.exiting {
            return Err(Refused::Exiting);
        }
        match &self.doubt {
            Some(reason) => Err(Refused::NotStored(reason.clone())),
            None => Ok(()),
        }
    }

    /// Appends a record without a body.
    pub(super) fn log(&mut self, record: &Record<'_>, class: Class) -> Result<Position, Refused> {
        self.scratch.clear();
        let mut bytes = std::mem::take(&mut self.scratch);
        record.encode(&mut bytes);
        let appended = self.append(&[&bytes], class);
        self.scratch = bytes;
        appended
    }

    /// Appends a record that says what has happened already: if it cannot be, the queue is in doubt.
    pub(super) fn log_or_doubt(&mut self, record: &Record<'_>) {
        if let Err(refused) = self.log(record, Class::Reserved) {
            self.fall_in_doubt(&refused.to_string());
        }
    }

    pub(super) fn append(&mut self, parts: &[&[u8]], class: Class) -> Result<Position, Refused> {
        let appended = self.journal.append(parts, class);
        appended.map_err(|error| match error {
            AppendError::Full { reserve, .. } => Refused::Full { what: Bound::DiskReserve, limit: reserve },
            AppendError::TooLarge { bytes, max } => Refused::TooLarge { bytes, limit: u64::from(max) },
            AppendError::Io { reason } => Refused::NotStored(reason),
            AppendError::Lost(lost) => {
                self.lose(&lost);
                Refused::NotStored(lost.reason)
            }
        })
    }

    /// The batch that was just added to is to be synced soon.
    pub(super) fn commit_soon(&mut self) -> Commit {
        self.commit_wanted = true;
        self.driver.notify_one();
        self.commits.current()
    }

    /// Something was settled.
    pub(super) fn settled(&mut self) {
        if self.settles_due_ms.is_none() {
            self.settles_due_ms = Some(self.clock.now_ms() + SETTLES_SYNC_MS);
            self.driver.notify_one();
        }
        if self.settles.bytes() > SETTLES_BYTES_MAX {
            self.append_settles();
        }
    }

    /// The log gets what was settled.
    pub(super) fn append_settles(&mut self) {
        if self.settles.is_empty() {
            return;
        }
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        bytes.push(SETTLES);
        self.settles.take(self.clock.now_ms(), &mut bytes);
        let appended = self.append(&[&bytes], Class::Reserved);
        self.scratch = bytes;
        self.unwritten = true;
        if let Err(refused) = appended {
            self.fall_in_doubt(&refused.to_string());
        }
    }

    /// The kernel gets what was settled: before a message takes a place that became free by it.
    pub(super) fn write_settles(&mut self) {
        self.append_settles();
        if self.unwritten {
            self.write_log();
        }
    }

    /// The kernel gets what was appended.
    pub(super) fn write_log(&mut self) {
        self.unwritten = false;
        match self.journal.write() {
            Ok(()) => {}
            // It stays in memory, in order. A message that is handed out now may come twice after a crash.
            Err(WriteError::Full) => self.unwritten = true,
            Err(WriteError::Lost(lost)) => self.lose(&lost),
        }
    }

    /// Records that the state has are lost: who waits for them is refused.
    pub(super) fn lose(&mut self, lost: &Lost) {
        tracing::error!(from = %lost.from, to = %lost.to, reason = lost.reason, "records could not be stored");
        self.rewriting.lose(lost.from);
        self.ids_lost();
        self.state.forget_from(lost.from, &self.rewriting.lost());
        self.fall_in_doubt(&lost.reason);
    }

    /// The log lacks something that the state has: nothing is granted or taken before a checkpoint holds it.
    pub(super) fn fall_in_doubt(&mut self, reason: &str) {
        self.counters.commits_failed += 1;
        self.doubt = Some(reason.to_owned());
        let batch = self.commits.begin();
        self.commits.fail(batch, reason);
        self.batches.clear();
        self.driver.notify_one();
    }

    /// Tells who listens.
    pub(super) fn tell(&mut self, change: &Change) {
        self.changes.retain(|listener| listener.send(change.clone()).is_ok());
    }

    /// Wakes the consumers of the channels that were given something, when all of it is durable; those in `batch`.
    pub(super) fn wake_channels(&mut self, batch: &[u32]) {
        for number in batch {
            if let Some(channel) = self.state.channels.get_mut(number) {
                channel.wake();
            }
        }
    }

    /// Channels that were given something since this was last asked.
    pub(super) fn take_fresh(&mut self) -> Vec<u32> {
        let fresh = std::mem::take(&mut self.state.fresh);
        for number in &fresh {
            if let Some(channel) = self.state.channels.get_mut(number) {
                channel.fresh = false;
            }
        }
        fresh
    }
}
