//! How long to wait before the next dial. Pure, but for the dice.
//!
//! Full jitter: uniform between the least delay and a ceiling that doubles with each failure, the first included, so that a hundred consumers of an nsqd that comes back do not arrive together. It goes on for
//! ever; there is no last attempt.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// The delays of one nsqd.
#[derive(Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration) -> Backoff {
        Backoff { min, max: max.max(min), failures: 0 }
    }

    /// The next delay. `dice` is uniform in 0..1.
    pub(super) fn next(&mut self, dice: f64) -> Duration {
        let ceiling = self.min.saturating_mul(2 << self.failures.min(20)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        self.min + (ceiling - self.min).mul_f64(dice)
    }

    /// A connection lived for `lived`: only one that outlived the longest delay was a success. One that nsqd takes and ends at once, for a refused command say, must not be dialled in a
    /// tight loop.
    pub(super) fn lived(&mut self, lived: Duration) {
        if lived >= self.max {
            self.failures = 0;
        }
    }
}

/// Uniform in 0..1, from the standard library's hash keys: delays need no better source.
pub(super) fn dice() -> f64 {
    let bits = RandomState::new().build_hasher().finish();
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(5);

    #[test]
    fn doubles_to_the_longest_delay_and_stays_there() {
        let mut backoff = Backoff::new(MIN, MAX);
        let delays: Vec<u128> = (0..9).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(delays, [200, 400, 800, 1600, 3200, 5000, 5000, 5000, 5000]);
        assert!((0..100).all(|_| backoff.next(0.0) == MIN));
    }

    #[test]
    fn the_first_delay_has_its_jitter_too() {
        let first = |dice| Backoff::new(MIN, MAX).next(dice);
        assert_eq!((first(0.0), first(0.5)), (MIN, MIN * 3 / 2));
        assert_eq!(Backoff::new(MIN, MIN).next(1.0), MIN);
    }

    #[test]
    fn a_connection_that_ends_at_once_is_a_failure_too() {
        let mut backoff = Backoff::new(MIN, MAX);
        for _ in 0..9 {
            backoff.next(1.0);
        }
        backoff.lived(Duration::from_secs(1));
        assert_eq!(backoff.next(1.0), MAX);
        backoff.lived(MAX);
        assert_eq!(backoff.next(1.0), MIN * 2);
    }

    #[test]
    fn the_dice_stay_within_bounds_and_differ() {
        let throws: Vec<f64> = (0..100).map(|_| dice()).collect();
        assert!(throws.iter().all(|throw| (0.0..1.0).contains(throw)));
        let mean = throws.iter().sum::<f64>() / 100.0;
        assert!((0.3..0.7).contains(&mean), "{mean}");
    }
}
