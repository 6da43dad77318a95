//! Replay: records into the calls that live events make.

use std::collections::BTreeSet;

use journal::Position;
use wire::TopicName;

use super::channel::ChannelCounts;
use super::held::HeldMessage;
use super::record::Record;
use super::settle::{self, Ending, Settle};
use super::state::State;
use super::varint::Malformed;

/// While the log is replayed nothing is handed out, so no body is read.
fn nothing(_: Position) -> Option<HeldMessage> {
    None
}

impl State {
    /// Applies the record at a position.
    pub(super) fn apply(&mut self, at: Position, bytes: &[u8]) -> Result<(), Malformed> {
        match Record::decode(bytes)? {
            Record::Message(message, body) => {
                let number = self.topic_of(message.topic)?;
                self.publish(at, &message, body, number);
            }
            Record::Moved(moved, body) => {
                let number = self.topic_of(moved.message.topic)?;
                self.moved(at, &moved, body.len(), number);
            }
            Record::Settles(groups) => self.settle_all(groups)?,
            Record::IdsReserved { end } => {
                self.ids_end = self.ids_end.max(end);
            }
            Record::Withdrawn { from } => self.forget_from(from, &BTreeSet::new()),
            record => self.apply_change(record),
        }
        Ok(())
    }

    /// The topic of a message. One that is not there was made by a record that is lost: it is made again.
    fn topic_of(&mut self, name: &str) -> Result<u32, Malformed> {
        let name = TopicName::new(name).map_err(|_| Malformed)?;
        Ok(self.create_topic(&name, false))
    }

    fn apply_change(&mut self, record: Record<'_>) {
        match record {
            Record::TopicCreated { topic, held } => {
                self.create_topic(&topic, held);
            }
            Record::TopicDeleted { topic } => {
                self.delete_topic(&topic);
            }
            Record::TopicPaused { topic, paused, at_ms } => {
                let number = self.create_topic(&topic, false);
                self.pause_topic(number, paused);
                self.fan_out(number, at_ms, &nothing);
            }
            Record::TopicEmptied { topic } => {
                let number = self.create_topic(&topic, false);
                self.empty_topic(number);
            }
            Record::GateOpened { topic, at_ms } => {
                let number = self.create_topic(&topic, false);
                self.open_gate(number);
                self.fan_out(number, at_ms, &nothing);
            }
            Record::ChannelCreated { topic, channel, number, at_ms } => {
                let owner = self.create_topic(&topic, false);
                if self.channel_number(&topic, &channel).is_none() {
                    self.create_channel(owner, &channel, number);
                    self.fan_out(owner, at_ms, &nothing);
                }
            }
            Record::ChannelDeleted { topic, channel } => match self.channel_number(&topic, &channel) {
                Some(number) => drop(self.delete_channel(number)),
                None => self.skipped += 1,
            },
            Record::ChannelPaused { topic, channel, paused } => {
                let number = self.channel_number(&topic, &channel);
                match number.and_then(|number| self.channels.get_mut(&number)) {
                    Some(channel) => channel.paused = paused,
                    None => self.skipped += 1,
                }
            }
            Record::ChannelEmptied { topic, channel } => match self.channel_number(&topic, &channel) {
                Some(number) => self.empty_channel(number),
                None => self.skipped += 1,
            },
            // `apply` has seen to these.
            Record::Message(..)
            | Record::Moved(..)
            | Record::Settles(_)
            | Record::IdsReserved { .. }
            | Record::Withdrawn { .. } => {}
        }
    }

    pub(super) fn pause_topic(&mut self, number: u32, paused: bool) {
        if let Some(topic) = self.topics.get_mut(&number) {
            topic.paused = paused;
        }
    }

    pub(super) fn open_gate(&mut self, number: u32) {
        if let Some(topic) = self.topics.get_mut(&number) {
            topic.held = false;
        }
    }

    fn settle_all(&mut self, groups: &[u8]) -> Result<(), Malformed> {
        settle::each(groups, |_, channel, settle| {
            if self.settle(channel, settle).is_none() {
                self.skipped += 1;
            }
        })
    }

    /// `None`: what it speaks of is not there.
    fn settle(&mut self, channel: u32, settle: Settle) -> Option<()> {
        let channel = self.channels.get_mut(&channel)?;
        let number = channel.topic;
        let index = &self.topics.get(&number)?.index;
        let slot = index.find(settle.position)?;
        let backlog = channel.backlog_mut()?;
        if !backlog.holds(index, slot) {
            return None;
        }
        backlog.take_out(index, slot, settle.source)?;
        backlog.end(slot, settle.ending);
        if settle.ending == Ending::Finished {
            self.settle_life(number, slot);
        }
        Some(())
    }

    /// The log is at its end: what was out at consumers is ready again.
    pub(super) fn bring_back(&mut self) {
        for channel in self.channels.values_mut() {
            let Some(topic) = self.topics.get(&channel.topic) else { continue };
            if let Some(backlog) = channel.backlog_mut() {
                backlog.bring_back(&topic.index);
            }
            channel.counts = ChannelCounts::default();
            channel.fresh = false;
        }
        self.fresh.clear();
        for topic in self.topics.values_mut() {
            (topic.published, topic.published_bytes) = (0, 0);
        }
    }
}
