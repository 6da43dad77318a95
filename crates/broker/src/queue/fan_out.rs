//! From a topic to its channels.
//!
//! A published message goes to the channels at once when the topic has one, is not paused and waits for no
//! nsqlookupd; else with the event that ends that. Both follow from the records' order, so neither is a record.

use std::rc::Rc;

use bytes::Bytes;
use journal::Position;

use super::channel::{Channel, Store};
use super::held::{HeldMessage, NO_POSITION};
use super::record::MessageRecord;
use super::slot::Slot;
use super::state::{RECORD_OVERHEAD, State};

/// Reads a message from the log for a channel that holds it in memory. Replaying, there is no such channel.
pub(super) type ReadHeld<'a> = &'a dyn Fn(Position) -> Option<HeldMessage>;

const NS_PER_MS: u64 = 1_000_000;

impl State {
    /// A message was published. `bytes` is its record's length.
    pub(super) fn publish(&mut self, at: Position, message: &MessageRecord<'_>, body: &[u8], number: u32) {
        self.saw(message);
        let record_bytes = body.len() as u64 + message.topic.len() as u64 + RECORD_OVERHEAD + 20;
        let slot = self.enter(number, at, record_bytes);
        let topic = self.topics.get_mut(&number).expect("`enter` has just found it");
        topic.published += 1;
        topic.published_bytes += body.len() as u64;
        if !topic.fans_out() {
            topic.index.waiting += 1;
            if message.defer_ms > 0 {
                topic.delays.insert(slot, message.defer_ms);
            }
            return;
        }
        let segment = topic.index.segments.get_mut(&at.segment).expect("`enter` has just appended to it");
        segment.fanned = slot.ordinal + 1;
        let due_ms = (message.defer_ms > 0).then(|| message.timestamp_ns / NS_PER_MS + message.defer_ms);
        self.give_one(number, slot, at, message, body, due_ms);
    }

    /// No later message gets this id, or an earlier timestamp.
    pub(super) fn saw(&mut self, message: &MessageRecord<'_>) {
        self.saw_id(message.id);
        self.last_timestamp_ns = self.last_timestamp_ns.max(message.timestamp_ns);
    }

    fn give_one(
        &mut self,
        number: u32,
        slot: Slot,
        position: Position,
        message: &MessageRecord<'_>,
        body: &[u8],
        due_ms: Option<u64>,
    ) {
        let (mut in_log, mut held) = (false, None);
        let Some(topic) = self.topics.get(&number) else { return };
        for channel_number in &topic.channels {
            let Some(channel) = self.channels.get_mut(channel_number) else { continue };
            mark_fresh(&mut self.fresh, channel, *channel_number, 1);
            match &mut channel.store {
                Store::Log(backlog) => {
                    in_log = true;
                    backlog.give(slot.segment, slot.ordinal, 1);
                    if let Some(due_ms) = due_ms {
                        backlog.defer_given(slot, due_ms);
                    }
                }
                Store::Memory(memory) => {
                    let held = held.get_or_insert_with(|| Rc::new(hold(message, body, position)));
                    memory.give(held.clone(), due_ms);
                }
            }
        }
        if !in_log {
            self.settle_life(number, slot);
        }
    }

    /// What waits in a topic goes to its channels, if nothing keeps it.
    pub(super) fn fan_out(&mut self, number: u32, at_ms: u64, read: ReadHeld<'_>) {
        let Some(topic) = self.topics.get_mut(&number).filter(|topic| topic.fans_out()) else { return };
        if topic.index.waiting == 0 {
            return self.fan_out_held(number, at_ms);
        }
        topic.index.waiting = 0;
        let waiting = topic.index.segments.iter().filter(|(_, it)| it.fanned < it.len());
        let waiting: Vec<(u32, u32)> = waiting.map(|(segment, it)| (*segment, it.fanned)).collect();
        let channels = topic.channels.clone();
        for (segment, from) in waiting {
            self.fan_out_segment(number, &channels, segment, from, at_ms, read);
        }
        if let Some(topic) = self.topics.get_mut(&number) {
            topic.delays.clear();
        }
    }

    fn fan_out_segment(
        &mut self,
        number: u32,
        channels: &[u32],
        segment: u32,
        from: u32,
        at_ms: u64,
        read: ReadHeld<'_>,
    ) {
        let Some(topic) = self.topics.get_mut(&number) else { return };
        let Some(messages) = topic.index.segments.get_mut(&segment) else { return };
        let given: Vec<u32> =
            (from..messages.len()).filter(|ordinal| !messages.placed.get(*ordinal)).collect();
        messages.fanned = messages.len();
        let Some(first) = given.first().copied() else { return };
        let mut in_log = false;
        for channel_number in channels {
            let Some(channel) = self.channels.get_mut(channel_number) else { continue };
            mark_fresh(&mut self.fresh, channel, *channel_number, given.len() as u64);
            match &mut channel.store {
                Store::Log(backlog) => {
                    in_log = true;
                    backlog.give(segment, first, given.len() as u32);
                    for (slot, delay_ms) in topic.delays.range(segment_range(segment)) {
                        backlog.defer_given(*slot, at_ms + delay_ms);
                    }
                }
                Store::Memory(held) => {
                    for ordinal in &given {
                        let slot = Slot { segment, ordinal: *ordinal };
                        if held.is_full() {
                            break;
                        }
                        let message = topic.index.position(slot).and_then(read);
                        let due_ms = topic.delays.get(&slot).map(|delay_ms| at_ms + delay_ms);
                        message.into_iter().for_each(|message| held.give(Rc::new(message), due_ms));
                    }
                }
            }
        }
        if !in_log {
            given.iter().for_each(|ordinal| self.settle_life(number, Slot { segment, ordinal: *ordinal }));
        }
    }
}

/// `#ephemeral` topics.
impl State {
    /// A message was published to a topic that no log knows.
    pub(super) fn publish_held(&mut self, number: u32, message: &MessageRecord<'_>, body: &[u8]) {
        self.saw(message);
        let Some(topic) = self.topics.get_mut(&number) else { return };
        topic.published += 1;
        topic.published_bytes += body.len() as u64;
        if (topic.waiting.len() as u64) < self.held_max.max(1) || topic.fans_out() {
            topic.waiting.push_back((hold(message, body, NO_POSITION), message.defer_ms));
        }
        self.fan_out_held(number, message.timestamp_ns / NS_PER_MS);
    }

    fn fan_out_held(&mut self, number: u32, at_ms: u64) {
        let Some(topic) = self.topics.get_mut(&number).filter(|topic| topic.fans_out()) else { return };
        for (message, delay_ms) in topic.waiting.drain(..) {
            let message = Rc::new(message);
            for channel_number in &topic.channels {
                let Some(channel) = self.channels.get_mut(channel_number) else { continue };
                mark_fresh(&mut self.fresh, channel, *channel_number, 1);
                if let Store::Memory(held) = &mut channel.store {
                    held.give(message.clone(), (delay_ms > 0).then_some(at_ms + delay_ms));
                }
            }
        }
    }
}

fn hold(message: &MessageRecord<'_>, body: &[u8], position: Position) -> HeldMessage {
    let body = Bytes::copy_from_slice(body);
    HeldMessage { id: message.id, timestamp_ns: message.timestamp_ns, body, position }
}

fn mark_fresh(fresh: &mut Vec<u32>, channel: &mut Channel, number: u32, messages: u64) {
    channel.counts.messages += messages;
    if !channel.fresh {
        channel.fresh = true;
        fresh.push(number);
    }
}

fn segment_range(segment: u32) -> std::ops::RangeInclusive<Slot> {
    Slot { segment, ordinal: 0 }..=Slot { segment, ordinal: u32::MAX }
}
