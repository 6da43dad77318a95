//! How long a requeued message waits: exponential in its attempts, with full jitter, and never for the whole consumer.
//!
//! Full jitter (uniform between a floor and the exponential ceiling) rather than a fixed fraction: messages that failed
//! together must not come back together. The floor is an eighth of the ceiling, so that a message never comes back at
//! once into the outage that refused it.

use std::time::Duration;

/// The delay before the next attempt of a message that was not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffSettings {
    /// Ceiling of the delay after the first attempt. Default 1 s.
    pub initial: Duration,
    /// Ceiling of the delay after any attempt. Default 15 min, what the NSQ clients cap it at too.
    pub max: Duration,
}

impl Default for BackoffSettings {
    fn default() -> Self {
        BackoffSettings { initial: Duration::from_secs(1), max: Duration::from_secs(15 * 60) }
    }
}

impl BackoffSettings {
    /// The delay after attempt number `attempts` (the first is 1), with `jitter` uniform in 0.0 to 1.0.
    pub(crate) fn delay(&self, attempts: u16, jitter: f64) -> Duration {
        // 2^20 initial delays is past any sensible maximum; more would only overflow.
        let doublings = u32::from(attempts.saturating_sub(1)).min(20);
        let ceiling = self.initial.saturating_mul(1 << doublings).min(self.max);
        let floor = ceiling / 8;
        floor + (ceiling - floor).mul_f64(jitter.clamp(0.0, 1.0))
    }
}

/// A small generator of jitter for one lane. Quality hardly matters and nothing secret hangs on it: what counts is that
/// two lanes, and two processes started together, do not draw the same delays.
#[derive(Debug)]
pub(crate) struct Jitter(std::cell::Cell<u64>);

impl Jitter {
    /// A generator seeded by the hasher's random keys, which the standard library draws from the system.
    pub(crate) fn new() -> Jitter {
        use std::hash::{BuildHasher, Hasher};
        let seed = std::hash::RandomState::new().build_hasher().finish();
        Jitter(std::cell::Cell::new(seed | 1))
    }

    /// Uniform in 0.0 to 1.0 (xorshift64*).
    pub(crate) fn draw(&self) -> f64 {
        let mut x = self.0.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0.set(x);
        (x.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_with_the_attempts_up_to_the_maximum() {
        let backoff = BackoffSettings { initial: Duration::from_secs(1), max: Duration::from_secs(60) };
        let at = |attempts| backoff.delay(attempts, 1.0);
        assert_eq!([at(1), at(2), at(3)].map(|d| d.as_secs()), [1, 2, 4]);
        assert_eq!(at(7), Duration::from_secs(60));
        assert_eq!(at(u16::MAX), Duration::from_secs(60));
        // nsqd's counter wraps to 0 after 65,535 deliveries.
        assert_eq!(at(0), Duration::from_secs(1));
    }

    #[test]
    fn jitter_spreads_but_never_to_nothing() {
        let backoff = BackoffSettings::default();
        let jitter = Jitter::new();
        let drawn: Vec<_> = (0..1000).map(|_| backoff.delay(4, jitter.draw())).collect();
        assert!(drawn.iter().all(|d| (Duration::from_secs(1)..=Duration::from_secs(8)).contains(d)));
        assert!(drawn.iter().any(|d| *d < Duration::from_secs(3)));
        assert!(drawn.iter().any(|d| *d > Duration::from_secs(6)));
    }
}
