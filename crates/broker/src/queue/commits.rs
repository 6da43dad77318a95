//! Group commits: who waits for which sync, and how it ended.
//!
//! What is appended belongs to the batch that is being collected. When its sync begins, the next batch begins to
//! collect; when it ends, all who wait for it are answered. Batches end in the order of their numbers.

use std::collections::{BTreeMap, HashMap};
use std::task::{Context, Poll, Waker};

use super::Commit;
use super::error::Refused;

/// Failures that are remembered for who asks late. Who waits asks at once.
const FAILURES_MAX: usize = 1024;

/// The batches.
#[derive(Debug)]
pub(super) struct Commits {
    collecting: u64,
    /// Every batch up to this one has ended.
    ended: u64,
    /// Batches up to this one are forgotten if they failed: to be on the safe side they all did.
    forgotten: u64,
    failures: BTreeMap<u64, String>,
    /// By what the waker wakes, so that who asks again and again waits once.
    waiting: HashMap<(usize, u64), Waker>,
    /// Publishes in the batch that is being collected.
    pub(super) publishes: u32,
}

impl Default for Commits {
    fn default() -> Self {
        Self {
            collecting: 1,
            ended: 0,
            forgotten: 0,
            failures: BTreeMap::new(),
            waiting: HashMap::new(),
            publishes: 0,
        }
    }
}

impl Commits {
    /// What is appended now becomes durable with this.
    pub(super) fn current(&self) -> Commit {
        Commit(self.collecting)
    }

    /// Nothing to wait for.
    pub(super) const GRANTED: Commit = Commit(0);

    /// The batch's sync begins: the next one collects.
    pub(super) fn begin(&mut self) -> u64 {
        self.publishes = 0;
        self.collecting += 1;
        self.collecting - 1
    }

    /// All batches up to this one ended well.
    pub(super) fn grant(&mut self, batch: u64) {
        self.ended = self.ended.max(batch);
        self.wake();
    }

    /// All batches that have not ended, up to this one, failed.
    pub(super) fn fail(&mut self, batch: u64, reason: &str) {
        for failed in self.ended + 1..=batch {
            self.failures.insert(failed, reason.to_owned());
        }
        while self.failures.len() > FAILURES_MAX {
            self.forgotten = self.failures.pop_first().map_or(self.forgotten, |(batch, _)| batch);
        }
        self.ended = self.ended.max(batch);
        self.wake();
    }

    fn wake(&mut self) {
        let ended = self.ended;
        let over = self.waiting.extract_if(|(_, batch), _| *batch <= ended);
        over.for_each(|(_, waker)| waker.wake());
    }

    pub(super) fn poll(&mut self, commit: Commit, cx: &Context<'_>) -> Poll<Result<(), Refused>> {
        if commit == Self::GRANTED {
            return Poll::Ready(Ok(()));
        }
        if commit.0 > self.ended {
            let key = (cx.waker().data().addr(), commit.0);
            self.waiting.insert(key, cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(match self.failures.get(&commit.0) {
            Some(reason) => Err(Refused::NotStored(reason.clone())),
            None if commit.0 <= self.forgotten => {
                Err(Refused::NotStored("its sync may have failed, long ago".to_owned()))
            }
            None => Ok(()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_granted_with_its_sync_and_not_before() {
        let mut commits = Commits::default();
        let cx = Context::from_waker(Waker::noop());
        let first = commits.current();
        let batch = commits.begin();
        let second = commits.current();
        assert!(commits.poll(first, &cx).is_pending() && commits.poll(second, &cx).is_pending());
        commits.grant(batch);
        assert_eq!(commits.poll(first, &cx), Poll::Ready(Ok(())));
        assert!(commits.poll(second, &cx).is_pending());
        assert_eq!(commits.waiting.len(), 1);
        let batch = commits.begin();
        commits.fail(batch, "EIO");
        let refused = Err(Refused::NotStored("EIO".to_owned()));
        assert_eq!(commits.poll(second, &cx), Poll::Ready(refused));
        assert_eq!(commits.poll(first, &cx), Poll::Ready(Ok(())));
    }

    #[test]
    fn what_is_forgotten_never_counts_as_stored() {
        let mut commits = Commits::default();
        let cx = Context::from_waker(Waker::noop());
        let first = commits.current();
        for _ in 0..=FAILURES_MAX {
            let batch = commits.begin();
            commits.fail(batch, "EIO");
        }
        assert!(matches!(commits.poll(first, &cx), Poll::Ready(Err(_))));
    }
}
