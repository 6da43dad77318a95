//! How long to wait before an nsqlookupd is dialled again: doubling, with full jitter, so that a hundred nodes do not meet an nsqlookupd that comes
//! back all at once.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

const MIN: Duration = Duration::from_millis(100);

/// nsqd dials again with its next ping, so nobody expects more.
const MAX: Duration = Duration::from_secs(15);

/// The delays of one nsqlookupd.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next delay. `dice` is uniform in 0..1.
    pub(super) fn next(&mut self, dice: f64) -> Duration {
        let ceiling = MIN.saturating_mul(1 << self.failures.min(20)).min(MAX);
        self.failures = self.failures.saturating_add(1);
        MIN + (ceiling - MIN).mul_f64(dice)
    }

    /// It answered a ping: the next failure is a first one. An answer to IDENTIFY alone is not enough, since an nsqlookupd that takes it and refuses
    /// what follows must not be dialled in a tight loop.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Uniform in 0..1, from the standard library's hash keys: delays need no better source.
pub(super) fn dice() -> f64 {
    (RandomState::new().build_hasher().finish() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_bound_and_begin_again() {
        let mut backoff = Backoff::default();
        let delays: Vec<u128> = (0..10).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 15_000, 15_000]);
        assert_eq!(backoff.next(0.0), MIN);
        backoff.reset();
        assert_eq!(backoff.next(1.0), MIN);
        assert!((0.0..1.0).contains(&dice()));
    }
}
