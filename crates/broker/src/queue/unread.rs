//! How often the disk did not give a message: what it never gives is given up some time.
//!
//! Bounded, for a region of the disk that went bad may hold any number of messages, and whatever waited for one may be deleted
//! or emptied before it was given or given up. One that is not counted for want of room is only given up later.

use std::collections::BTreeMap;

use journal::Position;

/// So often the disk may fail to give a message, while it takes what is written, before the message is given up.
const READS_MAX: u32 = 30;

/// Messages that are counted at once.
const COUNTED_MAX: usize = 1024;

/// Nobody asks for a message any more that was not tried for so long: it would be tried every second.
const FORGOTTEN_AFTER_MS: u64 = 60_000;

#[derive(Debug)]
struct Failures {
    times: u32,
    /// When it was last tried.
    last_ms: u64,
}

/// The messages that the disk does not give just now.
#[derive(Debug, Default)]
pub(super) struct Unread(BTreeMap<Position, Failures>);

impl Unread {
    /// Once more; whether that is too often.
    pub(super) fn fails(&mut self, at: Position, now_ms: u64) -> bool {
        if self.0.len() >= COUNTED_MAX && !self.0.contains_key(&at) {
            return false;
        }
        let failures = self.0.entry(at).or_insert(Failures { times: 0, last_ms: now_ms });
        failures.times += 1;
        failures.last_ms = now_ms;
        failures.times >= READS_MAX
    }

    pub(super) fn is_over(&mut self, at: Position) {
        self.0.remove(&at);
    }

    /// Forgets those that nobody asks for any more.
    pub(super) fn forget_old(&mut self, now_ms: u64) {
        self.0.retain(|_, failures| failures.last_ms.saturating_add(FORGOTTEN_AFTER_MS) > now_ms);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u32) -> Position {
        Position { segment: 1, offset }
    }

    #[test]
    fn a_message_is_given_up_after_so_many_failures_in_a_row() {
        let mut unread = Unread::default();
        assert!((1..READS_MAX).all(|second| !unread.fails(at(0), u64::from(second) * 1_000)));
        assert!(unread.fails(at(0), 30_000));
        unread.is_over(at(0));
        assert!(!unread.fails(at(0), 31_000));
    }

    #[test]
    fn what_is_counted_is_bounded_and_who_found_no_room_gets_its_turn() {
        let mut unread = Unread::default();
        for second in 0..u64::from(READS_MAX) * 2 {
            let given_up =
                (0..2_000).filter(|offset| unread.fails(at(*offset), second * 1_000)).collect::<Vec<_>>();
            given_up.into_iter().for_each(|offset| unread.is_over(at(offset)));
            assert!(unread.len() <= COUNTED_MAX);
        }
        // Those of the first half minute were given up, and so were others in their place.
        unread.forget_old(1_000_000);
        assert_eq!(unread.len(), 0);
    }
}
