//! Latencies in logarithmic buckets: 16 to each power of two, so a quantile is at most 6 % too high, in 4 KiB.
//!
//! One thread writes, any thread may read: counters are atomics without a read-modify-write, which costs a plain store.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Buckets to a power of two, as a number of bits.
const SUB_BITS: u32 = 4;
/// 2^32 µs is 71 minutes: past every deadline that the settings allow.
const POWERS: usize = 32;
const BUCKETS: usize = POWERS << SUB_BITS;

pub(crate) struct Histogram(Box<[AtomicU64]>);

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Histogram").field(&self.counts().iter().sum::<u64>()).finish()
    }
}

impl Histogram {
    pub(crate) fn new() -> Histogram {
        Histogram((0..BUCKETS).map(|_| AtomicU64::new(0)).collect())
    }

    /// Counts one latency. Only the owning thread may call this.
    pub(crate) fn record(&self, latency: Duration) {
        let slot = &self.0[bucket(latency.as_micros() as u64)];
        slot.store(slot.load(Relaxed) + 1, Relaxed);
    }

    pub(crate) fn counts(&self) -> Vec<u64> {
        self.0.iter().map(|slot| slot.load(Relaxed)).collect()
    }
}

fn bucket(micros: u64) -> usize {
    if micros < 1 << SUB_BITS {
        return micros as usize;
    }
    let power = micros.ilog2() - SUB_BITS;
    let index = ((power + 1) as usize) << SUB_BITS | (micros >> power) as usize & ((1 << SUB_BITS) - 1);
    index.min(BUCKETS - 1)
}

/// The largest latency, in µs, that falls into a bucket.
fn upper_bound(index: usize) -> u64 {
    if index < 1 << SUB_BITS {
        return index as u64;
    }
    let power = (index >> SUB_BITS) - 1;
    let within = (index & ((1 << SUB_BITS) - 1)) as u64 | 1 << SUB_BITS;
    ((within + 1) << power) - 1
}

/// How latencies are spread. All zero where nothing was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quantiles {
    /// How many were counted.
    pub count: u64,
    /// Half took at most this long.
    pub p50: Duration,
    /// Nine in ten took at most this long.
    pub p90: Duration,
    /// 99 in 100 took at most this long.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

impl Quantiles {
    /// The quantiles of the sum of several histograms' counts.
    pub(crate) fn of(counts: &[u64]) -> Quantiles {
        let count = counts.iter().sum();
        let at = |share: f64| {
            let rank = (count as f64 * share).ceil() as u64;
            let mut seen = 0;
            let index = counts.iter().position(|n| {
                seen += n;
                seen >= rank && rank > 0
            });
            Duration::from_micros(index.map_or(0, upper_bound))
        };
        Quantiles { count, p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_lies_in_its_bucket_within_six_percent() {
        for micros in (0..100_000).chain([1 << 20, (1 << 31) + 12345]) {
            let bound = upper_bound(bucket(micros));
            assert!(bound >= micros && bound as f64 <= micros as f64 * 1.0626 + 0.5, "{micros} in {bound}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_of_a_known_spread() {
        let histogram = Histogram::new();
        (1..=1000).for_each(|ms| histogram.record(Duration::from_millis(ms)));
        let quantiles = Quantiles::of(&histogram.counts());
        assert_eq!(quantiles.count, 1000);
        for (found, ms) in
            [(quantiles.p50, 500), (quantiles.p90, 900), (quantiles.p99, 990), (quantiles.max, 1000)]
        {
            let ratio = found.as_secs_f64() * 1000.0 / f64::from(ms);
            assert!((1.0..1.07).contains(&ratio), "{found:?} for {ms} ms");
        }
        assert_eq!(Quantiles::of(&[0; 32]), Quantiles::default());
    }
}
