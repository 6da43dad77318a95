//! The bound on bytes held, through RDY. Pure.
//!
//! NSQ has no credit in bytes, only RDY, a count of messages. So the largest message seen lately stands for
//! all: the sum of RDY stays under `in_flight_bytes_max` divided by it. What has not been seen yet cannot be
//! counted on, so a fresh connection, and one that has been quiet, starts with as few messages as would fit
//! were they all of `message_bytes_max`, and doubles each time that many have come. All nsqds share that start,
//! those included that are still to be reached; when one more is known, the others stand as if they had
//! started beside it.

/// The largest message lately: of the current stretch of time and the one before it.
#[derive(Debug)]
pub(super) struct BytesBound {
    limit: u64,
    message_bytes_max: u64,
    current: u64,
    previous: u64,
}

impl BytesBound {
    pub(super) fn new(limit: u64, message_bytes_max: usize) -> BytesBound {
        BytesBound { limit, message_bytes_max: message_bytes_max as u64, current: 0, previous: 0 }
    }

    /// Notes a message; true when it is the largest lately, so that the ceiling fell.
    pub(super) fn saw(&mut self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let largest = self.largest();
        if bytes > self.current {
            self.current = bytes;
        }
        bytes > largest
    }

    /// Ends a stretch: what was seen before it is forgotten.
    pub(super) fn forget(&mut self) {
        self.previous = std::mem::take(&mut self.current);
    }

    /// The most messages that all connections together may hold, at least 1: else a message larger than the
    /// limit would never come.
    pub(super) fn ceiling(&self) -> u32 {
        messages(self.limit, self.largest())
    }

    /// Where one of `nsqds` starts: before their first message they hold nothing that is known.
    pub(super) fn start(&self, nsqds: usize) -> u32 {
        messages(self.limit / nsqds.max(1) as u64, self.message_bytes_max)
    }

    fn largest(&self) -> u64 {
        self.current.max(self.previous)
    }
}

fn messages(limit: u64, bytes: u64) -> u32 {
    u32::try_from(limit / bytes.max(1)).unwrap_or(u32::MAX).max(1)
}

/// The bound of one connection while the sizes of its messages are being learnt.
#[derive(Debug)]
pub(super) struct SlowStart {
    cap: u32,
    /// Messages since the start: as many as the cap double it, however long they take, or a slow endpoint
    /// would keep it low.
    seen: u32,
    quiet: bool,
}

impl SlowStart {
    pub(super) fn new(start: u32) -> SlowStart {
        SlowStart { cap: start, seen: 0, quiet: true }
    }

    pub(super) fn cap(&self) -> u32 {
        self.cap
    }

    /// Notes a message; true when the cap has doubled.
    pub(super) fn saw(&mut self) -> bool {
        self.quiet = false;
        self.seen = self.seen.saturating_add(1);
        let doubles = self.seen >= self.cap && self.cap < u32::MAX;
        if doubles {
            self.cap = self.cap.saturating_mul(2);
        }
        doubles
    }

    /// Stands as if it had started at `start`, if that is lower.
    pub(super) fn restart(&mut self, start: u32) {
        let mut cap = start;
        while cap <= self.seen && cap < u32::MAX {
            cap = cap.saturating_mul(2);
        }
        self.cap = self.cap.min(cap);
    }

    /// Ends a stretch of time. One without a message ends what was learnt.
    pub(super) fn forget(&mut self, start: u32) {
        if self.quiet {
            *self = SlowStart::new(start.min(self.cap));
        }
        self.quiet = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_largest_message_lately_divides_the_limit() {
        let mut bound = BytesBound::new(32 * MIB, 5 << 20);
        assert_eq!(bound.ceiling(), 32 << 20, "nothing seen: each connection's own start bounds it");
        assert!(bound.saw(1 << 20));
        assert_eq!(bound.ceiling(), 32);
        assert!(!bound.saw(1_000), "smaller ones change nothing");
        assert!(!bound.saw(1 << 20));
        bound.forget();
        assert!(!bound.saw(1_000));
        assert_eq!(bound.ceiling(), 32, "still lately");
        bound.forget();
        assert_eq!(bound.ceiling(), (32 * MIB / 1_000) as u32);
    }

    #[test]
    fn never_under_one() {
        let mut bound = BytesBound::new(1_000, 5 << 20);
        bound.saw(10_000);
        assert_eq!((bound.ceiling(), bound.start(3)), (1, 1));
    }

    #[test]
    fn a_start_fits_even_if_all_are_of_the_greatest_size() {
        let bound = BytesBound::new(64 * MIB, 5 << 20);
        assert_eq!(bound.start(1), 12);
        assert_eq!(bound.start(3), 4);
        assert_eq!(bound.start(100), 1);
    }

    #[test]
    fn doubles_each_time_that_many_have_come() {
        let mut slow = SlowStart::new(4);
        let mut caps = Vec::new();
        for _ in 0..32 {
            if slow.saw() {
                caps.push(slow.cap());
            }
        }
        assert_eq!(caps, [8, 16, 32, 64]);
        assert_eq!(slow.seen, 32);
    }

    #[test]
    fn a_lower_start_counts_for_what_was_seen_since_the_higher_one() {
        let mut slow = SlowStart::new(12);
        slow.restart(6);
        assert_eq!(slow.cap(), 6);
        for _ in 0..5 {
            slow.saw();
        }
        slow.restart(4);
        assert_eq!(slow.cap(), 6, "8 by then, which is more than it had");
        (0..100).for_each(|_| _ = slow.saw());
        let grown = slow.cap();
        slow.restart(1);
        assert_eq!((grown, slow.cap()), (192, 128));
        slow.restart(4_000);
        assert_eq!(slow.cap(), 128, "a higher one changes nothing");
    }

    #[test]
    fn a_quiet_stretch_starts_over() {
        let mut slow = SlowStart::new(4);
        for _ in 0..100 {
            slow.saw();
        }
        assert_eq!(slow.cap(), 128);
        slow.forget(4);
        assert_eq!(slow.cap(), 128, "messages came");
        slow.forget(4);
        assert_eq!(slow.cap(), 4);
    }
}
