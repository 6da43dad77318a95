//! The state of the queue: what the records of the log, applied in order, come to.
//!
//! Nothing here reads a clock or a disk, and nothing fails: live and replayed records go through the same functions, so
//! a start ends where the broker stopped. What a record speaks of and is not there (a record was lost to damage)
//! is skipped and counted.
//!
//! `apply` turns records into calls; here are creating, deleting and the books of what is live. `fan_out`
//! gives messages to channels, `moves` takes them to another segment.

use std::collections::BTreeMap;

use journal::Position;
use wire::{ChannelName, TopicName};

use super::backlog::Backlog;
use super::channel::{Channel, IdMap, Store};
use super::held::Held;
use super::slot::Slot;
use super::topic::Topic;

/// Bytes that the log puts before a record, about.
pub(super) const RECORD_OVERHEAD: u64 = 12;

/// What is live in a segment of the log, over all topics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

/// Topics, channels, and the books.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) topics: IdMap<u32, Topic>,
    pub(super) names: BTreeMap<TopicName, u32>,
    pub(super) channels: IdMap<u32, Channel>,
    pub(super) usage: BTreeMap<u32, Usage>,
    pub(super) next_topic: u32,
    pub(super) next_channel: u32,
    /// No id from here on was issued.
    pub(super) next_id: u64,
    /// No id from here on may be issued before more are reserved.
    pub(super) ids_end: u64,
    pub(super) last_timestamp_ns: u64,
    /// Live messages of all topics.
    pub(super) live: u64,
    /// About the bytes of their records.
    pub(super) bytes: u64,
    /// Channels that were given something since the last group commit began.
    pub(super) fresh: Vec<u32>,
    /// Messages that an ephemeral channel holds at most.
    pub(super) held_max: u64,
    /// References to what is not there.
    pub(super) skipped: u64,
}

impl State {
    pub(super) fn topic(&self, name: &TopicName) -> Option<&Topic> {
        self.topics.get(self.names.get(name)?)
    }

    /// The number of a channel.
    pub(super) fn channel_number(&self, topic: &TopicName, channel: &ChannelName) -> Option<u32> {
        let numbers = &self.topic(topic)?.channels;
        numbers.iter().copied().find(|number| self.channels.get(number).is_some_and(|it| it.name == *channel))
    }

    /// Makes a topic, if it lacks; its number.
    pub(super) fn create_topic(&mut self, name: &TopicName, held: bool) -> u32 {
        if let Some(number) = self.names.get(name) {
            return *number;
        }
        self.next_topic += 1;
        self.names.insert(name.clone(), self.next_topic);
        self.topics.insert(self.next_topic, Topic::new(name.clone(), held));
        self.next_topic
    }

    /// Forgets a topic with everything in it. Its channels are given back, for their consumers to be told.
    pub(super) fn delete_topic(&mut self, name: &TopicName) -> Vec<(u32, Channel)> {
        let Some(topic) = self.names.remove(name).and_then(|number| self.topics.remove(&number)) else {
            self.skipped += 1;
            return Vec::new();
        };
        for (segment, messages) in &topic.index.segments {
            self.give_back(*segment, u64::from(messages.live), messages.bytes);
        }
        let numbers = topic.channels.iter();
        numbers.filter_map(|number| Some((*number, self.channels.remove(number)?))).collect()
    }

    /// Makes a channel under a number of its own. Fanning out to it is the caller's next step.
    pub(super) fn create_channel(&mut self, topic: u32, name: &ChannelName, number: u32) {
        let Some(owner) = self.topics.get_mut(&topic) else { return };
        let in_memory = owner.is_memory() || name.is_ephemeral();
        let store = if in_memory {
            Store::Memory(Held::new(self.held_max))
        } else {
            Store::Log(Box::<Backlog>::default())
        };
        owner.channels.push(number);
        self.next_channel = self.next_channel.max(number);
        self.channels.insert(number, Channel::new(name.clone(), topic, store));
    }

    /// Forgets a channel with everything in it.
    pub(super) fn delete_channel(&mut self, number: u32) -> Option<Channel> {
        let channel = self.channels.remove(&number)?;
        if let Some(topic) = self.topics.get_mut(&channel.topic) {
            topic.channels.retain(|other| *other != number);
        }
        self.recount(channel.topic, segments_of(&channel));
        Some(channel)
    }

    /// Drops what is in a channel.
    pub(super) fn empty_channel(&mut self, number: u32) {
        let Some(channel) = self.channels.get_mut(&number) else { return };
        let (topic, segments) = (channel.topic, segments_of(channel));
        channel.clear();
        self.recount(topic, segments);
    }

    /// Drops what no channel was given.
    pub(super) fn empty_topic(&mut self, number: u32) {
        let Some(topic) = self.topics.get_mut(&number) else { return };
        topic.waiting.clear();
        topic.delays.clear();
        if std::mem::take(&mut topic.index.waiting) == 0 {
            return;
        }
        let mut emptied = Vec::new();
        for (segment, messages) in &mut topic.index.segments {
            // Marked as placed, which no channel holds unless it says so: so a later fan-out passes them by.
            let waiting = messages.fanned..messages.len();
            if !waiting.is_empty() {
                waiting.for_each(|ordinal| {
                    messages.placed.set(ordinal);
                });
                messages.fanned = messages.len();
                emptied.push(*segment);
            }
        }
        self.recount(number, emptied);
    }

    /// The next channel's number.
    pub(super) fn new_channel_number(&self) -> u32 {
        self.next_channel + 1
    }

    /// An id was issued, or may have been.
    pub(super) fn saw_id(&mut self, id: u64) {
        self.next_id = self.next_id.max(id.saturating_add(1));
    }
}

/// The books.
impl State {
    /// A message is live.
    pub(super) fn enter(&mut self, topic: u32, at: Position, bytes: u64) -> Slot {
        let usage = self.usage.entry(at.segment).or_default();
        usage.messages += 1;
        usage.bytes += bytes;
        self.live += 1;
        self.bytes += bytes;
        let topic = self.topics.get_mut(&topic).expect("the caller has just found or made it");
        topic.live += 1;
        topic.bytes += bytes;
        topic.index.append(at, bytes)
    }

    /// If nobody waits for a message any more, it is live no longer.
    pub(super) fn settle_life(&mut self, number: u32, slot: Slot) {
        let Some(topic) = self.topics.get(&number) else { return };
        if self.is_live(topic, slot) {
            return;
        }
        let Some(topic) = self.topics.get_mut(&number) else { return };
        let Some(segment) = topic.index.segments.get_mut(&slot.segment) else { return };
        let bytes = segment.bury();
        topic.live = topic.live.saturating_sub(1);
        topic.bytes = topic.bytes.saturating_sub(bytes);
        if segment.live == 0 {
            topic.index.forget(slot.segment);
        }
        self.give_back(slot.segment, 1, bytes);
    }

    pub(super) fn is_live(&self, topic: &Topic, slot: Slot) -> bool {
        let waits = topic.index.segments.get(&slot.segment).is_some_and(|it| it.is_waiting(slot.ordinal));
        waits
            || topic.channels.iter().any(|number| {
                let backlog = self.channels.get(number).and_then(Channel::backlog);
                backlog.is_some_and(|backlog| backlog.holds(&topic.index, slot))
            })
    }

    /// Counts anew what is live in segments from which much was dropped at once.
    fn recount(&mut self, number: u32, segments: Vec<u32>) {
        for segment in segments {
            let Some(live) = self.topics.get(&number).map(|topic| self.live_in(topic, segment)) else {
                return;
            };
            let Some(topic) = self.topics.get_mut(&number) else { return };
            let Some(messages) = topic.index.segments.get_mut(&segment) else { continue };
            let (buried, bytes) = messages.bury_all_but(live);
            topic.live = topic.live.saturating_sub(u64::from(buried));
            topic.bytes = topic.bytes.saturating_sub(bytes);
            topic.index.forget(segment);
            self.give_back(segment, u64::from(buried), bytes);
        }
    }

    fn live_in(&self, topic: &Topic, segment: u32) -> u32 {
        let Some(messages) = topic.index.segments.get(&segment) else { return 0 };
        let backlogs = topic.channels.iter().filter_map(|number| self.channels.get(number)?.backlog());
        let views: Vec<_> = backlogs.filter_map(|backlog| backlog.views().get(&segment)).collect();
        let words = messages.words().map(|index| {
            let pending = views.iter().map(|view| view.pending_word(messages, index));
            pending.fold(messages.waiting_word(index), |all, word| all | word).count_ones()
        });
        words.sum()
    }

    /// What is live in a topic, by its messages and not by the books.
    #[cfg(test)]
    pub(super) fn count_live(&self, topic: &Topic) -> u64 {
        topic.index.segments.keys().map(|segment| u64::from(self.live_in(topic, *segment))).sum()
    }

    fn give_back(&mut self, segment: u32, messages: u64, bytes: u64) {
        self.live = self.live.saturating_sub(messages);
        self.bytes = self.bytes.saturating_sub(bytes);
        let Some(usage) = self.usage.get_mut(&segment) else { return };
        usage.messages = usage.messages.saturating_sub(messages);
        usage.bytes = usage.bytes.saturating_sub(bytes);
        if usage.messages == 0 {
            self.usage.remove(&segment);
        }
    }

    /// Makes the books of what a checkpoint says of the topics.
    pub(super) fn open_books(&mut self) {
        for topic in self.topics.values_mut() {
            topic.live = topic.index.segments.values().map(|it| u64::from(it.live)).sum();
            topic.bytes = topic.index.segments.values().map(|it| it.bytes).sum();
            self.live += topic.live;
            self.bytes += topic.bytes;
            for (segment, messages) in topic.index.segments.iter().filter(|(_, messages)| messages.live > 0) {
                let usage = self.usage.entry(*segment).or_default();
                usage.messages += u64::from(messages.live);
                usage.bytes += messages.bytes;
            }
        }
    }
}

fn segments_of(channel: &Channel) -> Vec<u32> {
    channel.backlog().map(|backlog| backlog.views().keys().copied().collect()).unwrap_or_default()
}
