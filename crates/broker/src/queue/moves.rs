//! A message that was appended afresh, so that its old segment can go: every channel that waits for it keeps it where
//! it had it, under its new slot.

use journal::Position;

use super::channel::Hold;
use super::index::Index;
use super::record::{MovedRecord, Place};
use super::slot::Slot;
use super::state::{RECORD_OVERHEAD, State};

impl State {
    /// A message moved to `at`.
    pub(super) fn moved(&mut self, at: Position, record: &MovedRecord<'_>, body_bytes: usize, number: u32) {
        self.saw(&record.message);
        let bytes = body_bytes as u64 + record.message.topic.len() as u64 + RECORD_OVERHEAD + 20;
        let slot = self.enter(number, at, bytes);
        let topic = self.topics.get(&number);
        let old = topic.and_then(|topic| Some((topic, topic.index.find(record.old)?)));
        let old = old.filter(|(topic, old)| self.is_live(topic, *old)).map(|(_, old)| old);
        if record.waiting {
            self.move_waiting(number, old, slot, record.message.defer_ms);
        } else {
            self.mark_placed(number, slot);
        }
        for (channel, place) in &record.places {
            self.move_place(number, *channel, *place, record.message.id, old, slot);
        }
        if let Some(old) = old {
            self.settle_life(number, old);
        }
        self.settle_life(number, slot);
    }

    fn move_waiting(&mut self, number: u32, old: Option<Slot>, slot: Slot, defer_ms: u64) {
        let Some(topic) = self.topics.get_mut(&number) else { return };
        topic.index.waiting += 1;
        if defer_ms > 0 {
            topic.delays.insert(slot, defer_ms);
        }
        let Some(old) = old else { return };
        topic.delays.remove(&old);
        let Some(segment) = topic.index.segments.get_mut(&old.segment) else { return };
        if segment.is_waiting(old.ordinal) {
            segment.placed.set(old.ordinal);
            topic.index.waiting -= 1;
        }
    }

    /// The fan-out passes it by.
    fn mark_placed(&mut self, number: u32, slot: Slot) {
        let Some(topic) = self.topics.get_mut(&number) else { return };
        let Some(segment) = topic.index.segments.get_mut(&slot.segment) else { return };
        segment.placed.set(slot.ordinal);
        if segment.fanned == slot.ordinal {
            segment.fanned += 1;
        }
    }

    fn move_place(&mut self, number: u32, channel: u32, place: Place, id: u64, old: Option<Slot>, new: Slot) {
        let (Some(topic), Some(channel)) = (self.topics.get(&number), self.channels.get_mut(&channel)) else {
            self.skipped += 1;
            return;
        };
        let in_flight = channel.in_flight.get_mut(&id);
        let is_in_flight = in_flight.is_some();
        if let Some(in_flight) = in_flight {
            in_flight.hold = Hold::Log(new);
        }
        let Some(backlog) = channel.backlog_mut() else { return };
        if let Some(old) = old.filter(|old| backlog.holds(&topic.index, *old)) {
            take_away(backlog, &topic.index, old, place, is_in_flight);
        }
        backlog.place(new);
        match place {
            Place::Unread => backlog.ready_again(new, 0),
            Place::Again { attempts } => backlog.ready_again(new, attempts),
            Place::Deferred { attempts, due_ms } => backlog.defer(new, attempts, due_ms),
            Place::InFlight { .. } if is_in_flight => {}
            Place::InFlight { attempts, .. } => backlog.put_out(new, attempts),
        }
    }
}

fn take_away(
    backlog: &mut super::backlog::Backlog,
    index: &Index,
    old: Slot,
    place: Place,
    is_in_flight: bool,
) {
    match place {
        Place::Unread if backlog.is_unread(index, old) => backlog.drop_unread(old),
        Place::Deferred { due_ms, .. } if backlog.is_deferred(old, due_ms) => {
            backlog.drop_deferred(old, due_ms)
        }
        Place::Again { .. } => backlog.drop_again(index, old),
        Place::InFlight { .. } if is_in_flight => backlog.finish(old),
        // Replayed: it was out then, and is still where it was before here.
        Place::InFlight { source, .. } => {
            backlog.take_out(index, old, source);
            backlog.finish(old);
        }
        // A lost record: it is somewhere else than it was.
        Place::Unread | Place::Deferred { .. } => {
            backlog.take_out(index, old, super::settle::Source::Again);
            backlog.finish(old);
        }
    }
}
