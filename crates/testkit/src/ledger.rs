//! Who was delivered how often: the account that every test of "nothing lost" ends with.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::body::{self, Verdict};

/// Deliveries by body serial. Kept by the endpoint; a test may also keep one of its own.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    serials: BTreeMap<u64, Marks>,
    damaged: Vec<String>,
    foreign: u64,
}

/// What happened to one serial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Times its whole body was read.
    pub seen: u32,
    /// Times its whole body was read and a 2xx head was given to the kernel.
    pub answered_2xx: u32,
}

/// Damaged bodies kept with their reasons; more are only worth a count.
const DAMAGED_KEPT: usize = 100;

impl Ledger {
    /// Enters a body that was read to its end, and says what it was.
    pub fn enter(&mut self, bytes: &[u8]) -> Verdict {
        let verdict = body::judge(bytes);
        match &verdict {
            Verdict::Whole(serial) => self.serials.entry(*serial).or_default().seen += 1,
            Verdict::Damaged { serial, reason } if self.damaged.len() < DAMAGED_KEPT => {
                self.damaged.push(format!("serial {serial}: {reason}"));
            }
            Verdict::Damaged { .. } => {}
            Verdict::Foreign => self.foreign += 1,
        }
        verdict
    }

    /// Notes that a 2xx was sent for `serial`.
    pub fn answered_2xx(&mut self, serial: u64) {
        self.serials.entry(serial).or_default().answered_2xx += 1;
    }

    /// Takes one [`Ledger::answered_2xx`] back: the kernel refused the answer after all.
    pub(crate) fn retract_2xx(&mut self, serial: u64) {
        let marks = self.serials.entry(serial).or_default();
        marks.answered_2xx = marks.answered_2xx.saturating_sub(1);
    }

    /// The marks of one serial, all zero if it was never seen.
    pub fn marks(&self, serial: u64) -> Marks {
        self.serials.get(&serial).copied().unwrap_or_default()
    }

    /// How many different serials were seen whole.
    pub fn distinct(&self) -> usize {
        self.serials.values().filter(|marks| marks.seen > 0).count()
    }

    /// Whole bodies seen beyond the first of each serial.
    pub fn duplicates(&self) -> u64 {
        self.serials.values().map(|marks| u64::from(marks.seen.saturating_sub(1))).sum()
    }

    /// The serials seen more than once, with how often.
    pub fn repeated(&self) -> Vec<(u64, u32)> {
        self.serials
            .iter()
            .filter(|(_, marks)| marks.seen > 1)
            .map(|(serial, marks)| (*serial, marks.seen))
            .collect()
    }

    /// The serials of `expected` that never got a 2xx for their whole body: what was lost, if the queue is empty.
    pub fn missing(&self, expected: Range<u64>) -> Vec<u64> {
        expected.filter(|serial| self.marks(*serial).answered_2xx == 0).collect()
    }

    /// Serials seen that are not in `expected`.
    pub fn unknown(&self, expected: Range<u64>) -> Vec<u64> {
        self.serials.keys().copied().filter(|serial| !expected.contains(serial)).collect()
    }

    /// Bodies that claim a serial but are not whole, with the reason (the first 100).
    pub fn damaged(&self) -> &[String] {
        &self.damaged
    }

    /// Bodies that were not made by [`crate::body::body`].
    pub fn foreign(&self) -> u64 {
        self.foreign
    }

    /// Asserts that every serial of `expected` was delivered whole, none damaged, none unknown; duplicates are allowed.
    ///
    /// # Panics
    /// When that is not so, with the serials.
    #[track_caller]
    pub fn assert_all_delivered(&self, expected: Range<u64>) {
        let missing = self.missing(expected.clone());
        let unknown = self.unknown(expected);
        assert!(missing.is_empty(), "{} not delivered, the first: {:?}", missing.len(), first(&missing));
        assert!(unknown.is_empty(), "{} unknown serials, the first: {:?}", unknown.len(), first(&unknown));
        assert!(self.damaged.is_empty(), "damaged bodies: {:?}", first(&self.damaged));
    }

    /// As [`Ledger::assert_all_delivered`], and nothing was delivered twice.
    ///
    /// # Panics
    /// When that is not so, with the serials.
    #[track_caller]
    pub fn assert_exactly_once(&self, expected: Range<u64>) {
        self.assert_all_delivered(expected);
        let repeated = self.repeated();
        assert!(repeated.is_empty(), "{} delivered again, the first: {:?}", repeated.len(), first(&repeated));
    }
}

fn first<T>(all: &[T]) -> &[T] {
    &all[..all.len().min(10)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::body;

    #[test]
    fn tells_missing_repeated_damaged_and_unknown_apart() {
        let mut ledger = Ledger::default();
        for serial in [0, 1, 1, 9] {
            ledger.enter(&body(serial, 64));
        }
        ledger.enter(&body(2, 64)[..60]);
        ledger.enter(b"foreign");
        ledger.answered_2xx(0);
        assert_eq!(ledger.missing(0..3), [1, 2], "seen without a 2xx is not delivered");
        assert_eq!(ledger.repeated(), [(1, 2)]);
        assert_eq!(ledger.duplicates(), 1);
        assert_eq!(ledger.unknown(0..3), [9]);
        assert_eq!(ledger.damaged().len(), 1);
        assert_eq!(ledger.foreign(), 1);
        assert_eq!(ledger.distinct(), 3);
    }

    #[test]
    #[should_panic(expected = "delivered again")]
    fn exactly_once_refuses_a_duplicate() {
        let mut ledger = Ledger::default();
        for _ in 0..2 {
            ledger.enter(&body(0, 64));
            ledger.answered_2xx(0);
        }
        ledger.assert_exactly_once(0..1);
    }
}
