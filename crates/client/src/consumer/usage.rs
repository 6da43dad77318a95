//! What decides about one connection's share of `max_in_flight`: what it has, what it used lately, and what it
//! may have while the sizes of its messages are being learnt.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use tokio::time::Instant;

use super::bytes::SlowStart;
use super::rdy::Use;

/// How long messages may still come under a share that was taken back: twice the 25 ms that nsqd is asked to keep its
/// output for at most.
pub(super) const ON_ITS_WAY: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct Usage {
    rdy: Cell<u32>,
    /// The highest RDY that was taken back lately, and until when it counts: nsqd may have sent that much before it read
    /// the lower one, and it is on its way.
    lowered: Cell<Option<(u32, Instant)>>,
    max_rdy_count: u32,
    /// Most messages held at once, in this stretch of time and in the one before.
    peak: Cell<u32>,
    peak_before: Cell<u32>,
    /// It has asked for a larger share since the last round, and there was none to be had.
    asked: Cell<bool>,
    slow_start: RefCell<SlowStart>,
}

impl Usage {
    pub(super) fn new(max_rdy_count: u32, start: u32) -> Usage {
        Usage {
            rdy: Cell::new(0),
            lowered: Cell::new(None),
            max_rdy_count,
            peak: Cell::new(0),
            peak_before: Cell::new(0),
            asked: Cell::new(false),
            slow_start: RefCell::new(SlowStart::new(start)),
        }
    }

    /// RDY as last written.
    pub(super) fn rdy(&self) -> u32 {
        self.rdy.get()
    }

    pub(super) fn wrote(&self, rdy: u32) {
        let before = self.rdy.replace(rdy);
        if rdy > before {
            self.asked.set(false);
        } else if rdy < before {
            let now = Instant::now();
            self.lowered.set(Some((self.on_its_way(now).max(before), now + ON_ITS_WAY)));
        }
    }

    /// What may still come of a share that was taken back.
    fn on_its_way(&self, now: Instant) -> u32 {
        self.lowered.get().filter(|(_, until)| now < *until).map_or(0, |(rdy, _)| rdy)
    }

    /// `in_flight` messages are held now.
    pub(super) fn look(&self, in_flight: u32, now: Instant) -> Use {
        Use {
            max: self.max_rdy_count.min(self.slow_start.borrow().cap()),
            rdy: self.rdy.get(),
            in_flight: in_flight.max(self.on_its_way(now)),
            peak: self.peak.get().max(self.peak_before.get()),
        }
    }

    /// A message came, and so many are held now. True when a larger share is called for: this one is full, or
    /// its bound was just lifted. That is asked once a round, unless the share did grow.
    pub(super) fn received(&self, in_flight: u32) -> bool {
        self.peak.set(self.peak.get().max(in_flight));
        let mut slow_start = self.slow_start.borrow_mut();
        let was_bound = self.rdy.get() >= slow_start.cap();
        let lifted = slow_start.saw() && was_bound;
        let full = in_flight >= self.rdy.get() && !self.asked.replace(true);
        lifted || full
    }

    /// A round has passed: it may ask again.
    pub(super) fn may_ask(&self) {
        self.asked.set(false);
    }

    /// A stretch has passed: what was used before it is forgotten.
    pub(super) fn forget_peak(&self, in_flight: u32) {
        self.peak_before.set(self.peak.replace(in_flight));
    }

    /// One more nsqd is known, and all together start lower.
    pub(super) fn restart(&self, start: u32) {
        self.slow_start.borrow_mut().restart(start);
    }

    /// A long stretch has passed: a connection that was quiet for all of it starts over.
    pub(super) fn forget_sizes(&self, start: u32) {
        self.slow_start.borrow_mut().forget(start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_share_is_asked_about_once_a_round_or_when_it_grew() {
        let usage = Usage::new(2_500, 1_000);
        usage.wrote(2);
        assert!(!usage.received(1));
        assert!(usage.received(2));
        assert!(!usage.received(2), "asked already");
        usage.may_ask();
        assert!(usage.received(2));
        usage.wrote(3);
        assert!(usage.received(3), "it grew, and is full again");
        usage.wrote(2);
        assert!(!usage.received(2), "it did not grow");
    }

    #[test]
    fn a_lifted_bound_is_told_only_where_it_bound() {
        let usage = Usage::new(2_500, 2);
        usage.wrote(2);
        assert!(!usage.received(1));
        assert!(usage.received(1), "it has seen as many as it began with");
        assert_eq!(usage.look(1, Instant::now()).max, 4);
        let elsewhere = Usage::new(2_500, 2);
        elsewhere.wrote(1);
        assert!(!elsewhere.received(0) && !elsewhere.received(0), "its share was smaller than the bound");
    }

    #[test]
    fn a_share_that_was_taken_back_counts_until_it_must_have_arrived() {
        let usage = Usage::new(2_500, 1_000);
        usage.wrote(50);
        usage.wrote(20);
        let now = Instant::now();
        assert_eq!(usage.look(7, now).in_flight, 50);
        assert_eq!(usage.look(7, now + ON_ITS_WAY).in_flight, 7);
        usage.wrote(10);
        assert_eq!(usage.look(7, now).in_flight, 50, "the highest one counts");
    }

    #[test]
    fn what_was_used_is_remembered_for_two_stretches() {
        let usage = Usage::new(2_500, 1_000);
        usage.received(40);
        usage.forget_peak(3);
        assert_eq!(usage.look(3, Instant::now()).peak, 40);
        usage.forget_peak(0);
        assert_eq!(usage.look(0, Instant::now()).peak, 3);
    }
}
