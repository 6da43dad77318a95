//! What a consumer has counted.
//!
//! `received = finished + requeued + expired + connection_lost + in_flight` at every instant on the
//! consumer's own thread: a delivery is counted in and out in the same step as the table changes. One thread
//! writes and any may read, so the counters are atomics that are loaded and stored and never
//! read-modified-written: counting costs what a plain integer costs. A snapshot taken by another thread may
//! catch two of them a step apart.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that one thread writes and any may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed) + n, Relaxed);
    }

    pub(crate) fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed) - n, Relaxed);
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// The counters of one consumer. Give each its own.
        #[derive(Debug, Default)]
        pub struct ConsumerCounters {
            $($(#[$doc])+ pub $name: Counter,)+
        }

        /// The counters at one moment, as plain numbers.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct ConsumerSnapshot {
            $($(#[$doc])+ pub $name: u64,)+
        }

        impl ConsumerCounters {
            /// All of them now.
            pub fn snapshot(&self) -> ConsumerSnapshot {
                ConsumerSnapshot { $($name: self.$name.get(),)+ }
            }
        }

        impl ConsumerSnapshot {
            /// Adds another consumer's.
            pub fn add(&mut self, other: &ConsumerSnapshot) {
                $(self.$name += other.$name;)+
            }

            /// Each name and its number, for printing.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)+].into_iter()
            }
        }
    };
}

counters! {
    /// Messages that arrived; one that was delivered again counts again.
    received,
    /// Bytes of their bodies, without the oversized ones.
    bytes_received,
    /// Those whose FIN was written.
    finished,
    /// Those whose REQ was written.
    requeued,
    /// Those whose deadline passed before they were settled. Nothing was sent for them after it.
    expired,
    /// Those whose connection ended before they were settled.
    connection_lost,
    /// Those held now, waiting or handed out.
    in_flight,
    /// Those that were delivered again while the caller still held them, and whose newer delivery the
    /// caller's outcome settles.
    adopted,
    /// Those over `message_bytes_max`; counted among `requeued` too.
    oversized,
    /// FINs that were given to a connection that could not send them before it ended or before their deadline.
    /// Counted among `finished` too; their messages come again.
    finishes_unsent,
    /// TOUCHes written.
    touched,
    /// `E_FIN_FAILED` answers.
    fin_failed,
    /// `E_REQ_FAILED` answers.
    req_failed,
    /// `E_TOUCH_FAILED` answers.
    touch_failed,
    /// Heartbeats answered.
    heartbeats,
    /// RDYs written.
    rdy_written,
    /// Connections that came as far as the answer to SUB.
    connects,
    /// Dials that failed, and connections that ended before the answer to SUB.
    connect_failures,
    /// Connections that ended otherwise than by a stop.
    disconnects,
    /// Connections now.
    connections,
    /// nsqlookupd answers that could not be had.
    lookup_failures,
}

impl ConsumerSnapshot {
    /// Whether every message received is accounted for.
    pub fn balances(&self) -> bool {
        self.received == self.finished + self.requeued + self.expired + self.connection_lost + self.in_flight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_balances_or_not() {
        let counters = ConsumerCounters::default();
        counters.received.add(5);
        counters.finished.add(2);
        counters.in_flight.add(4);
        assert!(!counters.snapshot().balances());
        counters.in_flight.sub(1);
        assert!(counters.snapshot().balances());
        let mut sum = counters.snapshot();
        sum.add(&counters.snapshot());
        assert_eq!((sum.received, sum.in_flight, sum.balances()), (10, 6, true));
        assert!(sum.named().any(|named| named == ("finished", 4)));
    }
}
