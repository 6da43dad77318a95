//! The bound on connections, TCP and HTTP together. The pipes of the own process do not count.

use std::cell::Cell;
use std::rc::Rc;

use crate::client::count;

/// Connections, now and since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionCounters {
    /// Open now.
    pub open: usize,
    /// Taken so far.
    pub accepted: u64,
    /// Closed at once because of [`connections_max`](crate::Settings::connections_max).
    pub refused: u64,
    /// Times that the system did not give one: no descriptors, no memory.
    pub accept_failures: u64,
}

/// The places.
#[derive(Debug)]
pub(super) struct Places {
    max: usize,
    open: Cell<usize>,
    accepted: Cell<u64>,
    refused: Cell<u64>,
    accept_failures: Cell<u64>,
}

/// One of them, for as long as it lives.
#[derive(Debug)]
pub(super) struct Place(Rc<Places>);

impl Places {
    pub(super) fn new(max: usize) -> Rc<Self> {
        Rc::new(Self {
            max,
            open: Cell::default(),
            accepted: Cell::default(),
            refused: Cell::default(),
            accept_failures: Cell::default(),
        })
    }

    pub(super) fn take(self: &Rc<Self>) -> Option<Place> {
        if self.open.get() >= self.max {
            count(&self.refused, 1);
            return None;
        }
        count(&self.open, 1);
        count(&self.accepted, 1);
        Some(Place(Rc::clone(self)))
    }

    pub(super) fn count_failure(&self) {
        count(&self.accept_failures, 1);
    }

    pub(super) fn counters(&self) -> ConnectionCounters {
        ConnectionCounters {
            open: self.open.get(),
            accepted: self.accepted.get(),
            refused: self.refused.get(),
            accept_failures: self.accept_failures.get(),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_it_is_dropped() {
        let places = Places::new(2);
        let (first, _second) = (places.take().unwrap(), places.take().unwrap());
        assert!(places.take().is_none());
        drop(first);
        let _third = places.take().unwrap();
        let counters = places.counters();
        assert_eq!((counters.open, counters.accepted, counters.refused), (2, 3, 1));
    }
}
