//! Turns what happens on a lane into log lines, without letting an outage flood the log.
//!
//! Each kind of line appears at most once a second on a lane, after the first ten; the next one says how many it stands
//! for. The ten are there because troubles come together and differ: of two nsqds that end their connections, one may
//! be down and the other broken. Failures are counted in any case: the log is for reading, the ledger for adding up.

use std::cell::Cell;
use std::time::Duration;

use client::{Delivery, Event};
use delivery::Outcome;
use tokio::time::Instant;

const QUIET: Duration = Duration::from_secs(1);
/// Lines that may be written together; each second without one earns one back.
const TOGETHER: u32 = 10;

#[derive(Debug)]
pub(crate) struct Journalist {
    route: String,
    failures: Throttle,
    events: Throttle,
}

impl Journalist {
    pub(crate) fn new(route: &str) -> Journalist {
        Journalist { route: route.to_owned(), failures: Throttle::default(), events: Throttle::default() }
    }

    /// A POST did not deliver its message.
    pub(crate) fn failed(&self, delivery: &Delivery, outcome: &Outcome) {
        let (Some(cause), Some(others)) = (&outcome.cause, self.failures.pass(Instant::now())) else {
            return;
        };
        tracing::warn!(
            route = self.route,
            node = delivery.node(),
            id = %delivery.id(),
            attempt = delivery.attempts(),
            others_unlogged = others,
            "not delivered, requeued: {cause}"
        );
    }

    /// Something happened between the consumer and its nsqds or nsqlookupds.
    pub(crate) fn event(&self, event: &Event) {
        let route = &self.route;
        if event.is_trouble() {
            let Some(others) = self.events.pass(Instant::now()) else { return };
            tracing::warn!(route, others_unlogged = others, "{event}");
        } else {
            tracing::info!(route, "{event}");
        }
    }
}

/// Lets one through in a second, or a few together after a quiet time, and counts those held back.
#[derive(Debug, Default)]
struct Throttle {
    /// When all that may come together may come again: each that passes moves it a second further.
    rested_at: Cell<Option<Instant>>,
    held_back: Cell<u64>,
}

impl Throttle {
    /// `Some(held back since the last)` when a line may be written now.
    fn pass(&self, now: Instant) -> Option<u64> {
        let rested_at = self.rested_at.get().map_or(now, |at| at.max(now)) + QUIET;
        if rested_at > now + QUIET * TOGETHER {
            self.held_back.set(self.held_back.get() + 1);
            return None;
        }
        self.rested_at.set(Some(rested_at));
        Some(self.held_back.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_then_one_a_second_that_says_how_many_it_stands_for() {
        let throttle = Throttle::default();
        let begin = Instant::now();
        (0..10).for_each(|_| assert_eq!(throttle.pass(begin), Some(0)));
        (0..5).for_each(|_| assert_eq!(throttle.pass(begin), None));
        assert_eq!(throttle.pass(begin + QUIET), Some(5));
        assert_eq!(throttle.pass(begin + QUIET), None);
        assert_eq!(throttle.pass(begin + QUIET * 60), Some(1));
        (0..9).for_each(|_| assert_eq!(throttle.pass(begin + QUIET * 60), Some(0)));
        assert_eq!(throttle.pass(begin + QUIET * 60), None);
    }
}
