//! Records that the state has and the disk will never have: their messages were refused, and are forgotten.

use std::collections::BTreeSet;

use journal::Position;

use super::slot::Slot;
use super::state::State;
use super::topic::Topic;

impl State {
    /// Forgets every message whose record lies at `from` or behind it, but for those in `kept`.
    pub(super) fn forget_from(&mut self, from: Position, kept: &BTreeSet<Position>) {
        let numbers: Vec<u32> = self.topics.keys().copied().collect();
        for number in numbers {
            let Some(topic) = self.topics.get(&number) else { continue };
            let lost = self.lost_of(topic, from, kept);
            if !lost.is_empty() {
                self.forget(number, &lost);
            }
        }
    }

    fn forget(&mut self, number: u32, lost: &BTreeSet<Slot>) {
        let Some(topic) = self.topics.get_mut(&number) else { return };
        for channel in &topic.channels {
            let backlog = self.channels.get_mut(channel).and_then(|channel| channel.backlog_mut());
            backlog.into_iter().for_each(|backlog| backlog.forget(&topic.index, lost));
        }
        for slot in lost {
            topic.delays.remove(slot);
            let Some(segment) = topic.index.segments.get_mut(&slot.segment) else { continue };
            if segment.is_waiting(slot.ordinal) {
                segment.placed.set(slot.ordinal);
                topic.index.waiting -= 1;
            }
        }
        lost.iter().for_each(|slot| self.settle_life(number, *slot));
    }

    /// Only what is live: a second failure may begin where the first one did.
    fn lost_of(&self, topic: &Topic, from: Position, kept: &BTreeSet<Position>) -> BTreeSet<Slot> {
        let behind = topic.index.segments.range(from.segment..);
        let slots = behind.flat_map(|(segment, messages)| {
            (0..messages.len()).map(|ordinal| Slot { segment: *segment, ordinal })
        });
        let is_lost =
            |slot: &Slot| topic.index.position(*slot).is_some_and(|at| at >= from && !kept.contains(&at));
        slots.filter(|slot| is_lost(slot) && self.is_live(topic, *slot)).collect()
    }
}
