//! What happens by itself: group commits, timeouts, checkpoints, rewriting, retiring.
//!
//! Three loops of one task. The first syncs, as soon as something waits for it; the second looks at the time and at
//! what can be tidied, ten times a second; the third writes checkpoints on a thread of its own, so that no commit
//! waits for one.
//!
//! # Group commit
//! While a sync runs, publishes collect; the next sync takes them all. Publishers whose OK just went out come back within a
//! moment, so a commit waits for about as many as the one before it answered, but never longer than a quarter of a
//! sync: without that two halves of the publishers would take turns, each waiting for the other's sync.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::core::{Core, Shared};
use super::elsewhere::Elsewhere;
use super::error::CloseError;

const TICK: Duration = Duration::from_millis(100);
const SLOW_TICKS: u32 = 10;
/// A commit waits for others at most this part of the last sync.
const GATHERING_SHARE: u32 = 4;
/// And at most this long.
const GATHERING_MAX: Duration = Duration::from_millis(5);
/// A checkpoint is due after so much of the log.
const CHECKPOINT_BYTES: u64 = 64 * 1024 * 1024;
/// Or when segments wait for one, but not more often than this,
const CHECKPOINT_PAUSE_MIN: Duration = Duration::from_millis(250);
/// or than this many times what the last one took.
const CHECKPOINT_PAUSE_FACTOR: u32 = 16;
/// Or at once, when the start had to read more segments than this: each start leaves one, so that a process which is killed
/// again and again before it wrote a checkpoint would read and sync more of them each time.
const REPLAYED_SEGMENTS_MAX: u64 = 8;
/// Rounds of the last sync and checkpoint, at a stop under load.
const LAST_ROUNDS_MAX: u32 = 16;
/// Or so long after one, when topics or channels changed. A message's record that is damaged costs the message; that of a
/// channel would cost all that the channel was given since: so it stands in a checkpoint soon, too.
const CHANGES_PAUSE: Duration = Duration::from_secs(1);
/// After a failure.
const AGAIN: Duration = Duration::from_secs(1);

/// How the last sync went.
#[derive(Debug, Clone, Copy)]
struct LastSync {
    took: Duration,
    ended: Instant,
    /// Publishes that it answered, and those that were collected meanwhile.
    expected: u32,
}

/// The loops' own.
pub(super) struct Driver {
    core: Shared,
    syncs: Elsewhere,
    checkpoints: Elsewhere,
    last: Cell<Option<LastSync>>,
    last_checkpoint: RefCell<(Instant, Duration)>,
}

impl Driver {
    pub(super) fn new(core: Shared) -> Self {
        let inline = core.borrow().settings.sync_inline;
        Self {
            core,
            syncs: Elsewhere::new("sync", inline),
            checkpoints: Elsewhere::new("checkpoint", inline),
            last: Cell::new(None),
            last_checkpoint: RefCell::new((Instant::now(), Duration::ZERO)),
        }
    }

    /// Until the queue is closed.
    pub(super) async fn run(self) {
        tokio::join!(self.commit_loop(), self.tick_loop(), self.checkpoint_loop());
        let closed = self.end().await;
        let mut core = self.core.borrow_mut();
        core.closed = Some(closed);
        core.state.channels.values_mut().for_each(super::channel::Channel::wake_all);
        core.end.notify_waiters();
    }

    /// The last sync and the last checkpoint. What is finished while they are under way is written by another round; nothing
    /// is handed out any more, so that there are few.
    async fn end(&self) -> Result<(), CloseError> {
        for _ in 0..LAST_ROUNDS_MAX {
            self.last_commit().await?;
            // A start without it takes longer, and finds the same.
            if let Err(reason) = self.checkpoint().await {
                tracing::warn!(reason, "the last checkpoint could not be written");
                return self.last_commit().await;
            }
            let core = self.core.borrow();
            if core.settles.is_empty() && core.journal.durable() >= core.journal.end() {
                break;
            }
        }
        Ok(())
    }

    async fn last_commit(&self) -> Result<(), CloseError> {
        let end = {
            let mut core = self.core.borrow_mut();
            core.append_settles();
            core.journal.end()
        };
        self.commit().await;
        let core = self.core.borrow();
        match &core.doubt {
            Some(reason) => Err(CloseError(reason.clone())),
            None if core.journal.durable() < end => Err(CloseError("the disk is full".to_owned())),
            None => Ok(()),
        }
    }

    async fn commit_loop(&self) {
        let driver = self.core.borrow().driver.clone();
        loop {
            let wait = self.core.borrow().commit_wait();
            match wait {
                Wait::Stop => return,
                Wait::Commit => {
                    self.gather().await;
                    self.commit().await;
                }
                Wait::AtMost(at_most) => {
                    timeout(at_most, driver.notified()).await.ok();
                }
                Wait::Forever => driver.notified().await,
            }
        }
    }

    /// Lets publishers whose OK just went out come back.
    async fn gather(&self) {
        let Some(last) = self.last.get().filter(|_| !self.syncs.is_inline()) else { return };
        let at_most = (last.took / GATHERING_SHARE).min(GATHERING_MAX);
        while self.core.borrow().commits.publishes < last.expected && last.ended.elapsed() < at_most {
            tokio::task::yield_now().await;
        }
    }

    /// One group commit.
    async fn commit(&self) {
        let answered = self.core.borrow().commits.publishes;
        let Some(job) = self.core.borrow_mut().begin_commit() else { return };
        let began = Instant::now();
        let done = self.syncs.run(move || job.run()).await;
        let ended = Instant::now();
        let mut core = self.core.borrow_mut();
        core.end_commit(done);
        let expected = answered + core.commits.publishes;
        self.last.set(Some(LastSync { took: ended - began, ended, expected }));
    }

    async fn tick_loop(&self) {
        for tick in 0_u32.. {
            if self.core.borrow().stopping {
                return;
            }
            self.core.borrow_mut().tick(tick % SLOW_TICKS == 0);
            sleep(TICK).await;
        }
    }

    async fn checkpoint_loop(&self) {
        loop {
            if self.core.borrow().stopping {
                return;
            }
            if !self.is_checkpoint_due() {
                sleep(TICK).await;
                continue;
            }
            if let Err(reason) = self.checkpoint().await {
                tracing::warn!(reason, "a checkpoint could not be written");
                self.core.borrow_mut().changed = true;
                sleep(AGAIN).await;
            }
        }
    }

    fn is_checkpoint_due(&self) -> bool {
        let core = self.core.borrow();
        let (at, took) = *self.last_checkpoint.borrow();
        let pause = CHECKPOINT_PAUSE_MIN.max(took * CHECKPOINT_PAUSE_FACTOR);
        let waits = core.journal.segments().any(|segment| segment.retired);
        let start_was_long = core.counters.checkpoints == 0 && core.replayed_segments > REPLAYED_SEGMENTS_MAX;
        // On a full disk each message that is finished is a doubt of its own, and checkpoints may be all that is done.
        let doubt_waits = core.doubt.is_some() && at.elapsed() >= CHECKPOINT_PAUSE_MIN.max(took);
        doubt_waits
            || start_was_long
            || core.journal.bytes_since_checkpoint() >= CHECKPOINT_BYTES
            || (waits && at.elapsed() >= pause)
            || (core.changed && at.elapsed() >= pause.max(CHANGES_PAUSE))
    }

    /// Writes a checkpoint; ends a doubt that began before it.
    async fn checkpoint(&self) -> Result<(), String> {
        let began = Instant::now();
        let (job, begun) = self.core.borrow_mut().begin_checkpoint()?;
        self.until_durable(begun.covers, begun.doubts).await;
        let done = self.checkpoints.run(move || job.run()).await;
        *self.last_checkpoint.borrow_mut() = (Instant::now(), began.elapsed());
        self.core.borrow_mut().end_checkpoint(&begun, done)
    }

    /// Until the log is durable as far as a checkpoint covers it, or something went wrong, which the job will say.
    async fn until_durable(&self, covers: journal::Position, doubts: u64) {
        loop {
            let stopping = {
                let core = self.core.borrow();
                if core.journal.durable() >= covers || core.counters.commits_failed != doubts {
                    return;
                }
                core.stopping
            };
            if stopping {
                // The commit loop may have ended. What this one does not make durable is the job's to say.
                self.commit().await;
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
    }
}

/// What the commit loop does next.
pub(super) enum Wait {
    Stop,
    Commit,
    AtMost(Duration),
    Forever,
}

impl Core {
    fn commit_wait(&self) -> Wait {
        if self.stopping {
            return Wait::Stop;
        }
        if self.commit_wanted {
            return Wait::Commit;
        }
        match self.settles_due_ms {
            None => Wait::Forever,
            Some(due_ms) => match due_ms.saturating_sub(self.clock.now_ms()) {
                0 => Wait::Commit,
                left_ms => Wait::AtMost(Duration::from_millis(left_ms)),
            },
        }
    }

    fn begin_commit(&mut self) -> Option<journal::SyncJob> {
        self.commit_wanted = false;
        // Also when nothing comes of it: the slow tick tries again, and the loop must not go round until then.
        self.settles_due_ms = None;
        if !self.redo_moves() {
            return None;
        }
        self.append_settles();
        let fresh = self.take_fresh();
        let batch = self.commits.begin();
        self.batches.push_back((batch, self.journal.end(), fresh));
        #[cfg(any(test, feature = "flaws"))]
        if self.grants_before_sync {
            self.commits.grant(batch);
        }
        match self.journal.begin_sync() {
            Ok(Some(job)) => Some(job),
            Ok(None) => {
                self.grant_durable();
                None
            }
            Err(lost) => {
                self.lose(&lost);
                None
            }
        }
    }

    /// A group commit in place: at a start, when nobody waits for anything else.
    pub(super) fn commit_now(&mut self) {
        if let Some(job) = self.begin_commit() {
            self.end_commit(job.run());
        }
    }

    fn end_commit(&mut self, done: journal::SyncDone) {
        match self.journal.end_sync(done) {
            Ok(_) => {
                self.counters.commits += 1;
                self.grant_durable();
            }
            Err(lost) => self.lose(&lost),
        }
    }

    /// Answers who waits for what is durable now.
    fn grant_durable(&mut self) {
        let durable = self.journal.durable();
        self.rewriting.keep(durable);
        self.ids_durable(durable);
        while self.batches.front().is_some_and(|(_, end, _)| *end <= durable) {
            let Some((batch, _, fresh)) = self.batches.pop_front() else { return };
            self.commits.grant(batch);
            self.wake_channels(&fresh);
        }
    }

    fn tick(&mut self, slow: bool) {
        self.pass_time();
        if slow {
            self.clock.follow();
            self.unread.forget_old(self.clock.now_ms());
            self.room = self.journal.space();
            // A failed disk may be well again, a full one may have room.
            let is_behind = self.doubt.is_some() || !self.batches.is_empty();
            self.commit_wanted |= is_behind || self.journal.health().is_err();
            self.driver.notify_one();
        }
        if self.doubt.is_none() {
            self.rewrite();
            self.retire(self.dead_segments());
        }
    }
}
