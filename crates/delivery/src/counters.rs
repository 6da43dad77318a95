//! What one lane's endpoint counts, at the socket and not from a "reused" flag.
//!
//! One thread writes (the lane's), any thread reads: so a count is a plain load and store, without the locked
//! instruction of `fetch_add`, and a snapshot is not a moment in time across fields. At rest these hold:
//! `dials = opened + dial_failures + dials_aborted + emfile_waits`, `opened = open + sum of closes`.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::close_reason::CloseReason;

/// A number that one thread changes and any thread reads.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(crate) fn add(&self, n: u64) {
        self.set(self.get() + n);
    }

    pub(crate) fn one(&self) {
        self.add(1);
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of one endpoint in one lane. Shared with whoever shows them.
        #[derive(Debug, Default)]
        pub struct EndpointCounters {
            $($(#[$doc])* pub $name: Count,)*
            /// Connections closed, by reason, in the order of [`CloseReason::ALL`].
            pub closes: [Count; CloseReason::ALL.len()],
            /// Requests that each closed connection had carried, recorded when it closes.
            pub requests_per_connection: Histogram,
            /// Microseconds from the start of a dial (lookup) to a connection ready for use.
            pub dial_us: Histogram,
        }

        /// The counters at some moment, or summed over lanes.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct EndpointSnapshot {
            $($(#[$doc])* pub $name: u64,)*
            /// Connections closed, by reason, in the order of [`CloseReason::ALL`].
            pub closes: [u64; CloseReason::ALL.len()],
            /// Requests that each closed connection had carried.
            pub requests_per_connection: HistogramSnapshot,
            /// Microseconds from the start of a dial to a connection ready for use.
            pub dial_us: HistogramSnapshot,
        }

        impl EndpointCounters {
            /// The values now.
            pub fn snapshot(&self) -> EndpointSnapshot {
                EndpointSnapshot {
                    $($name: self.$name.get(),)*
                    closes: std::array::from_fn(|reason| self.closes[reason].get()),
                    requests_per_connection: self.requests_per_connection.snapshot(),
                    dial_us: self.dial_us.snapshot(),
                }
            }
        }

        impl AddAssign<&EndpointSnapshot> for EndpointSnapshot {
            fn add_assign(&mut self, other: &EndpointSnapshot) {
                $(self.$name += other.$name;)*
                for (sum, n) in self.closes.iter_mut().zip(other.closes) {
                    *sum += n;
                }
                self.requests_per_connection += &other.requests_per_connection;
                self.dial_us += &other.dial_us;
            }
        }
    };
}

counters! {
    /// Name lookups that a dial of this endpoint started (a shared or remembered answer counts for none).
    lookups,
    /// Of those, the ones that gave no address.
    lookup_failures,
    /// Dials started.
    dials,
    /// Dials that ended without a connection.
    dial_failures,
    /// Dials given up because the endpoint was closed.
    dials_aborted,
    /// TCP connections established, whether or not TLS came about on them.
    connects,
    /// TLS handshakes in full.
    handshakes_full,
    /// TLS handshakes that resumed a session.
    handshakes_resumed,
    /// TLS handshakes that failed.
    handshake_failures,
    /// Microseconds that completed handshakes took.
    handshake_wall_us,
    /// Microseconds of this thread's CPU time that completed handshakes took.
    handshake_cpu_us,
    /// Connections that became ready for use.
    opened,
    /// Requests of which the kernel took at least one byte.
    requests,
    /// Bytes that the kernel took, TLS records and handshakes included.
    bytes_sent,
    /// Bytes that the kernel gave, TLS records and handshakes included.
    bytes_received,
    /// Requests sent again because the kernel had taken no byte of them.
    unsent_resends,
    /// Requests sent again because a reused connection had ended before a byte of the answer.
    stale_resends,
    /// Dials put off for 100 ms because no file descriptor was free.
    emfile_waits,
    /// Connections open now, idle or in use.
    open,
    /// Connections idle now.
    idle,
    /// Dials under way now.
    dialling,
    /// Requests waiting for a connection now.
    waiting,
}

impl EndpointCounters {
    /// Connections closed for `reason`.
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closes[reason.index()].get()
    }
}

impl EndpointSnapshot {
    /// Connections closed for `reason`.
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closes[reason.index()]
    }
}

/// Buckets of a [`Histogram`]: the value 0, then one per power of two, the last one open-ended at 2^38.
pub const HISTOGRAM_BUCKETS: usize = 40;

/// Values in buckets of powers of two, with the exact smallest, largest, sum and count.
#[derive(Debug)]
pub struct Histogram {
    buckets: [Count; HISTOGRAM_BUCKETS],
    sum: Count,
    min: Count,
    max: Count,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram {
            buckets: std::array::from_fn(|_| Count::default()),
            sum: Count::default(),
            min: Count(AtomicU64::new(u64::MAX)),
            max: Count::default(),
        }
    }
}

impl Histogram {
    pub(crate) fn record(&self, value: u64) {
        let bucket = (u64::BITS - value.leading_zeros()) as usize;
        self.buckets[bucket.min(HISTOGRAM_BUCKETS - 1)].one();
        self.sum.add(value);
        self.min.set(self.min.get().min(value));
        self.max.set(self.max.get().max(value));
    }

    /// The values now.
    pub fn snapshot(&self) -> HistogramSnapshot {
        HistogramSnapshot {
            buckets: std::array::from_fn(|bucket| self.buckets[bucket].get()),
            sum: self.sum.get(),
            min: self.min.get(),
            max: self.max.get(),
        }
    }
}

/// A [`Histogram`] at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// How many values fell into each bucket: bucket 0 holds the value 0, bucket `n` those from 2^(n-1) to 2^n - 1.
    pub buckets: [u64; HISTOGRAM_BUCKETS],
    /// Sum of all values.
    pub sum: u64,
    min: u64,
    max: u64,
}

impl Default for HistogramSnapshot {
    fn default() -> Self {
        HistogramSnapshot { buckets: [0; HISTOGRAM_BUCKETS], sum: 0, min: u64::MAX, max: 0 }
    }
}

impl HistogramSnapshot {
    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The smallest and the largest value, when there is any.
    pub fn min_max(&self) -> Option<(u64, u64)> {
        (self.count() > 0).then_some((self.min, self.max))
    }
}

impl AddAssign<&HistogramSnapshot> for HistogramSnapshot {
    fn add_assign(&mut self, other: &HistogramSnapshot) {
        for (sum, n) in self.buckets.iter_mut().zip(other.buckets) {
            *sum += n;
        }
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

/// Whole microseconds, for the counters that sum them.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_puts_values_between_powers_of_two() {
        let histogram = Histogram::default();
        assert_eq!(histogram.snapshot().min_max(), None);
        for value in [0, 1, 2, 3, 4, 1_000, u64::MAX >> 1] {
            histogram.record(value);
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.buckets[..5], [1, 1, 2, 1, 0]);
        assert_eq!(snapshot.buckets[10], 1, "1,000 lies between 512 and 1,023");
        assert_eq!(snapshot.buckets[HISTOGRAM_BUCKETS - 1], 1);
        assert_eq!((snapshot.count(), snapshot.min_max()), (7, Some((0, u64::MAX >> 1))));
    }

    #[test]
    fn snapshots_of_lanes_add_up() {
        let (one, two) = (EndpointCounters::default(), EndpointCounters::default());
        one.dials.add(3);
        two.dials.add(4);
        two.closes[CloseReason::Age.index()].one();
        two.requests_per_connection.record(9);
        let mut sum = EndpointSnapshot::default();
        sum += &one.snapshot();
        sum += &two.snapshot();
        assert_eq!((sum.dials, sum.closed(CloseReason::Age)), (7, 1));
        assert_eq!(sum.requests_per_connection.min_max(), Some((9, 9)));
    }
}
