//! The messages of an `#ephemeral` channel, and of every channel of an `#ephemeral` topic: held in memory, dropped
//! beyond a bound, gone with the process. They keep no segment of the log alive.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use bytes::Bytes;
use journal::Position;

use super::settle::Source;

/// Below every durable end: a message that no log has.
pub(super) const NO_POSITION: Position = Position { segment: 0, offset: 0 };

/// A message with its body.
#[derive(Debug)]
pub(super) struct HeldMessage {
    pub(super) id: u64,
    pub(super) timestamp_ns: u64,
    pub(super) body: Bytes,
    /// Its record, which must be durable before it is handed out; [`NO_POSITION`] without one.
    pub(super) position: Position,
}

type Entry = (Rc<HeldMessage>, u16);

/// An ephemeral channel's messages.
#[derive(Debug, Default)]
pub(super) struct Held {
    ready: VecDeque<Entry>,
    deferred: BTreeMap<(u64, u64), Entry>,
    max: usize,
    serial: u64,
}

impl Held {
    /// Holds at most `max` messages, and one at least, of those that the fan-out gives.
    pub(super) fn new(max: u64) -> Self {
        Self { max: usize::try_from(max).unwrap_or(usize::MAX).max(1), ..Self::default() }
    }

    /// The fan-out gives one; beyond the bound it is dropped.
    pub(super) fn give(&mut self, message: Rc<HeldMessage>, due_ms: Option<u64>) {
        if !self.is_full() {
            match due_ms {
                None => self.ready.push_back((message, 0)),
                Some(due_ms) => self.defer(message, 0, due_ms),
            }
        }
    }

    /// Whether the next one given is dropped.
    pub(super) fn is_full(&self) -> bool {
        self.ready.len() + self.deferred.len() >= self.max
    }

    /// One that was handed out is ready again. It is not dropped: whoever had it made place for it.
    pub(super) fn ready_again(&mut self, message: Rc<HeldMessage>, attempts: u16) {
        self.ready.push_back((message, attempts));
    }

    /// One that was handed out is not ready before its time.
    pub(super) fn defer(&mut self, message: Rc<HeldMessage>, attempts: u16, due_ms: u64) {
        self.serial += 1;
        self.deferred.insert((due_ms, self.serial), (message, attempts));
    }

    /// Takes the next message whose record lies before `durable`.
    pub(super) fn next(&mut self, now_ms: u64, durable: Position) -> Option<(Rc<HeldMessage>, u16, Source)> {
        let is_durable =
            |message: &HeldMessage| message.position == NO_POSITION || message.position < durable;
        if let Some(first) = self.deferred.first_entry()
            && first.key().0 <= now_ms
            && is_durable(&first.get().0)
        {
            let (message, attempts) = first.remove();
            return Some((message, attempts, Source::Deferred));
        }
        if !self.ready.front().is_some_and(|(message, _)| is_durable(message)) {
            return None;
        }
        self.ready.pop_front().map(|(message, attempts)| (message, attempts, Source::Again))
    }

    pub(super) fn ready(&self) -> u64 {
        self.ready.len() as u64
    }

    /// Deferred messages whose time comes after `now_ms`, and those whose time has come.
    pub(super) fn deferred(&self, now_ms: u64) -> (u64, u64) {
        let due = self.deferred.range(..(now_ms.saturating_add(1), 0)).count() as u64;
        (self.deferred.len() as u64 - due, due)
    }

    pub(super) fn next_due(&self) -> Option<u64> {
        self.deferred.first_key_value().map(|((due_ms, _), _)| *due_ms)
    }

    pub(super) fn clear(&mut self) {
        self.ready.clear();
        self.deferred.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: u64, offset: u32) -> Rc<HeldMessage> {
        let position = Position { segment: u32::from(offset > 0), offset };
        Rc::new(HeldMessage { id, timestamp_ns: 0, body: Bytes::new(), position })
    }

    #[test]
    fn beyond_the_bound_the_newest_is_dropped() {
        let mut held = Held::new(2);
        (1..5).for_each(|id| held.give(message(id, 0), None));
        held.ready_again(message(9, 0), 1);
        let mut ids = Vec::new();
        while let Some((message, _, _)) = held.next(0, NO_POSITION) {
            ids.push(message.id);
        }
        assert_eq!(ids, [1, 2, 9]);
    }

    #[test]
    fn one_waits_for_its_record_and_one_for_its_time() {
        let mut held = Held::new(10);
        held.give(message(1, 50), None);
        held.give(message(2, 0), Some(100));
        assert!(held.next(99, Position { segment: 1, offset: 50 }).is_none());
        assert_eq!((held.deferred(99), held.deferred(100)), ((1, 0), (0, 1)));
        let end = Position { segment: 1, offset: 51 };
        let taken = held.next(100, end).map(|(message, _, source)| (message.id, source));
        assert_eq!(taken, Some((2, Source::Deferred)));
        assert_eq!(held.next(0, end).map(|(message, ..)| message.id), Some(1));
    }
}
