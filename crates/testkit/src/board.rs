//! Shared state between a kit thread and a test, with waiting that works from both kinds of test.
//!
//! Tests of the binary block their thread; tests of a crate run the code under test on the very thread that waits, so they
//! must await. Both waits look at the same state, and both use the wall clock: they are not for tests with paused time.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Locks, whoever panicked while holding it: a script that panics must not turn every later look at the counts into a second
/// panic that hides the first.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Default)]
pub(crate) struct Board<T> {
    state: Mutex<T>,
    changed: Condvar,
    notify: tokio::sync::Notify,
}

impl<T> Board<T> {
    pub(crate) fn new(state: T) -> Self {
        Self { state: Mutex::new(state), changed: Condvar::new(), notify: tokio::sync::Notify::new() }
    }

    pub(crate) fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&lock(&self.state))
    }

    pub(crate) fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut lock(&self.state));
        self.changed.notify_all();
        self.notify.notify_waiters();
        result
    }

    /// Blocks the thread until `look` gives a value or `timeout` has passed.
    pub(crate) fn wait<R>(&self, timeout: Duration, mut look: impl FnMut(&mut T) -> Option<R>) -> Option<R> {
        let deadline = Instant::now() + timeout;
        let mut state = lock(&self.state);
        loop {
            if let Some(found) = look(&mut state) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            state = match self.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// As [`Board::wait`], without blocking the thread.
    pub(crate) async fn until<R>(
        &self,
        timeout: Duration,
        mut look: impl FnMut(&mut T) -> Option<R>,
    ) -> Option<R> {
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            let changed = self.notify.notified();
            tokio::pin!(changed);
            // Registered before the look, or a change between the look and the await would be missed.
            changed.as_mut().enable();
            if let Some(found) = look(&mut lock(&self.state)) {
                return Some(found);
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return look(&mut lock(&self.state));
            }
        }
    }
}
