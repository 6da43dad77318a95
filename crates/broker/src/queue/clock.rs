//! The queue's time: milliseconds and nanoseconds since 1970 that never go back.
//!
//! Due times outlive the process, so they are told in the world's time; but a clock that someone sets must neither
//! release everything at once nor hold anything back. So the world's clock is read once, and the process's own
//! clock counts from there; only when the world has run far ahead (a machine that slept) is it followed.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// How far the world may be ahead before it is followed.
const AHEAD_MAX: Duration = Duration::from_secs(2);

/// A clock that only goes forward.
#[derive(Debug)]
pub(super) struct Clock {
    began: Instant,
    began_at: Duration,
    /// Whether the world's clock is looked at again. A simulation's time is its own.
    follows: bool,
}

impl Clock {
    /// Begins at the world's time, but not before `last_ns`.
    pub(super) fn new(last_ns: u64, follows: bool) -> Self {
        let now = if follows { world() } else { simulated() };
        Self { began: Instant::now(), began_at: now.max(Duration::from_nanos(last_ns)), follows }
    }

    fn now(&self) -> Duration {
        self.began_at + self.began.elapsed()
    }

    /// Nanoseconds since 1970.
    pub(super) fn now_ns(&self) -> u64 {
        u64::try_from(self.now().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Milliseconds since 1970.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.now().as_millis()).unwrap_or(u64::MAX)
    }

    /// Looks whether the machine slept. Once a second will do.
    pub(super) fn follow(&mut self) {
        let (world, now) = (world(), self.now());
        if self.follows && world > now + AHEAD_MAX {
            self.began_at += world - now;
        }
    }
}

/// The world as it were had it gone as fast as the simulation.
fn simulated() -> Duration {
    static BEGAN: LazyLock<(Duration, Instant)> = LazyLock::new(|| (world(), Instant::now()));
    let (at, began) = *BEGAN;
    at + Instant::now().saturating_duration_since(began) - began.saturating_duration_since(Instant::now())
}

fn world() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_counts_by_the_processs_clock_and_never_goes_back() {
        let clock = Clock::new(0, false);
        let before = clock.now_ms();
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(clock.now_ms() - before, 5_000);
        let ahead = before * 1_000_000 + 3_600_000_000_000;
        assert!(Clock::new(ahead, false).now_ns() >= ahead);
    }
}
