//! Creating, deleting, emptying and pausing topics and channels; subscribing.
//!
//! Each change is appended first and then applied by the function that a replay calls. What was settled before it
//! is appended before it: the order of the log is the order of what happened.

use std::rc::Rc;

use bytes::Bytes;
use journal::{Class, Journal, Position};
use wire::{ChannelName, TopicName};

use super::Commit;
use super::channel::{Channel, Consumer};
use super::commits::Commits;
use super::core::Core;
use super::error::{AdminError, Bound, Refused, SubscribeError};
use super::held::HeldMessage;
use super::record::Record;
use super::state::State;
use super::stats::Change;
use crate::client::Client;

impl Core {
    pub(super) fn create_topic(&mut self, topic: &TopicName) -> Result<Commit, AdminError> {
        self.may_append()?;
        self.topic_for(topic)?;
        Ok(self.commit_of(topic))
    }

    pub(super) fn delete_topic(&mut self, topic: &TopicName) -> Result<Commit, AdminError> {
        self.found(topic)?;
        self.change(topic, Record::TopicDeleted { topic: topic.clone() })?;
        let channels = self.state.delete_topic(topic);
        for (_, mut channel) in channels {
            channel.wake_all();
            self.tell(&Change::ChannelDeleted(topic.clone(), channel.name));
        }
        self.tell(&Change::TopicDeleted(topic.clone()));
        Ok(self.commit_of(topic))
    }

    pub(super) fn empty_topic(&mut self, topic: &TopicName) -> Result<Commit, AdminError> {
        let number = self.found(topic)?;
        self.change(topic, Record::TopicEmptied { topic: topic.clone() })?;
        self.state.empty_topic(number);
        Ok(self.commit_of(topic))
    }

    pub(super) fn pause_topic(&mut self, topic: &TopicName, paused: bool) -> Result<Commit, AdminError> {
        let number = self.found(topic)?;
        let at_ms = self.clock.now_ms();
        self.change(topic, Record::TopicPaused { topic: topic.clone(), paused, at_ms })?;
        self.state.pause_topic(number, paused);
        self.fan_out(number, at_ms);
        Ok(self.commit_of(topic))
    }

    pub(super) fn open_gate(&mut self, topic: &TopicName) -> Result<(), AdminError> {
        let number = self.found(topic)?;
        if self.state.topics.get(&number).is_some_and(|topic| topic.held) {
            let at_ms = self.clock.now_ms();
            if !topic.is_ephemeral() {
                self.append_settles();
                // Were it refused, the topic would never fan out: it takes from the reserve, and even while stopping.
                self.log_or_doubt(&Record::GateOpened { topic: topic.clone(), at_ms });
            }
            self.state.open_gate(number);
            self.fan_out(number, at_ms);
            self.commit_soon();
        }
        Ok(())
    }

    pub(super) fn create_channel(
        &mut self,
        topic: &TopicName,
        channel: &ChannelName,
    ) -> Result<Commit, AdminError> {
        self.found(topic)?;
        self.channel_for(topic, channel)?;
        Ok(self.commit_of(topic))
    }

    pub(super) fn delete_channel(
        &mut self,
        topic: &TopicName,
        channel: &ChannelName,
    ) -> Result<Commit, AdminError> {
        let number = self.found_channel(topic, channel)?;
        self.change(topic, Record::ChannelDeleted { topic: topic.clone(), channel: channel.clone() })?;
        self.drop_channel(number, topic, channel);
        Ok(self.commit_of(topic))
    }

    fn drop_channel(&mut self, number: u32, topic: &TopicName, channel: &ChannelName) {
        self.state.delete_channel(number).iter_mut().for_each(Channel::wake_all);
        self.tell(&Change::ChannelDeleted(topic.clone(), channel.clone()));
        let is_empty = self.state.topic(topic).is_some_and(|topic| topic.channels.is_empty());
        if topic.is_ephemeral() && is_empty {
            self.state.delete_topic(topic);
            self.tell(&Change::TopicDeleted(topic.clone()));
        }
    }

    pub(super) fn empty_channel(
        &mut self,
        topic: &TopicName,
        channel: &ChannelName,
    ) -> Result<Commit, AdminError> {
        let number = self.found_channel(topic, channel)?;
        self.change(topic, Record::ChannelEmptied { topic: topic.clone(), channel: channel.clone() })?;
        self.state.empty_channel(number);
        Ok(self.commit_of(topic))
    }

    pub(super) fn pause_channel(
        &mut self,
        topic: &TopicName,
        channel: &ChannelName,
        paused: bool,
    ) -> Result<Commit, AdminError> {
        let number = self.found_channel(topic, channel)?;
        let (topic_name, channel_name) = (topic.clone(), channel.clone());
        self.change(topic, Record::ChannelPaused { topic: topic_name, channel: channel_name, paused })?;
        if let Some(channel) = self.state.channels.get_mut(&number) {
            channel.paused = paused;
            channel.wake();
        }
        Ok(self.commit_of(topic))
    }

    fn found(&self, topic: &TopicName) -> Result<u32, AdminError> {
        self.state.names.get(topic).copied().ok_or(AdminError::TopicNotFound)
    }

    fn found_channel(&self, topic: &TopicName, channel: &ChannelName) -> Result<u32, AdminError> {
        self.found(topic)?;
        self.state.channel_number(topic, channel).ok_or(AdminError::ChannelNotFound)
    }

    /// Appends a change, unless its topic is one that no log knows.
    fn change(&mut self, topic: &TopicName, record: Record<'_>) -> Result<(), Refused> {
        self.may_append()?;
        if !topic.is_ephemeral() {
            self.append_settles();
            // Deleting and emptying make room, so a full disk does not refuse them.
            self.log(&record, Class::Reserved)?;
            self.changed = true;
        }
        Ok(())
    }

    /// Of a topic that no log knows there is nothing to wait for, but who was given something is woken by a commit.
    fn commit_of(&mut self, topic: &TopicName) -> Commit {
        let commit = self.commit_soon();
        if topic.is_ephemeral() { Commits::GRANTED } else { commit }
    }

    fn fan_out(&mut self, number: u32, at_ms: u64) {
        let Self { state, journal, .. } = self;
        state.fan_out(number, at_ms, &|at| read_held(journal, at));
    }

    /// Makes a channel, if it lacks; its number.
    fn channel_for(&mut self, topic: &TopicName, channel: &ChannelName) -> Result<u32, Refused> {
        if let Some(number) = self.state.channel_number(topic, channel) {
            return Ok(number);
        }
        self.may_append()?;
        let owner = self.topic_for(topic)?;
        let limit = self.settings.topic_channels_max;
        let channels = self.state.topics.get(&owner).map_or(0, |topic| topic.channels.len());
        if channels >= limit as usize {
            return Err(Refused::Full { what: Bound::Channels, limit: u64::from(limit) });
        }
        let (number, at_ms) = (self.state.new_channel_number(), self.clock.now_ms());
        let record = Record::ChannelCreated { topic: topic.clone(), channel: channel.clone(), number, at_ms };
        self.change(topic, record)?;
        self.state.create_channel(owner, channel, number);
        self.fan_out(owner, at_ms);
        self.tell(&Change::ChannelCreated(topic.clone(), channel.clone()));
        self.commit_of(topic);
        Ok(number)
    }

    /// Adds a consumer: its channel's number and its own.
    pub(super) fn subscribe(
        &mut self,
        topic: &TopicName,
        channel: &ChannelName,
        client: Rc<Client>,
    ) -> Result<(u32, u64), SubscribeError> {
        let number = self.channel_for(topic, channel)?;
        let limit = self.settings.max_channel_consumers;
        let found = self.state.channels.get_mut(&number).expect("it was just found or made");
        if limit > 0 && found.consumers.len() >= limit as usize {
            let (topic, channel) = (topic.to_string(), channel.to_string());
            return Err(SubscribeError::TooManyConsumers { topic, channel, limit });
        }
        self.subscriptions += 1;
        found.consumers.insert(self.subscriptions, Consumer::new(client));
        Ok((number, self.subscriptions))
    }

    /// Takes a consumer away. What is in flight to it is ready again; an ephemeral channel goes with its last one.
    pub(super) fn unsubscribe(&mut self, number: u32, consumer: u64) {
        let Some(channel) = self.state.channels.get_mut(&number) else { return };
        channel.consumers.remove(&consumer);
        if self.closed.is_some() {
            return;
        }
        let is_over = channel.name.is_ephemeral() && channel.consumers.is_empty();
        if !is_over {
            return self.return_all(number, consumer);
        }
        let (channel, owner) = (channel.name.clone(), channel.topic);
        let Some(topic) = self.state.topics.get(&owner).map(|topic| topic.name.clone()) else { return };
        if !topic.is_ephemeral() {
            self.append_settles();
            self.log_or_doubt(&Record::ChannelDeleted { topic: topic.clone(), channel: channel.clone() });
        }
        self.drop_channel(number, &topic, &channel);
        self.commit_soon();
    }
}

/// Reads a message to hold it in memory.
fn read_held(journal: &Journal, at: Position) -> Option<HeldMessage> {
    let bytes = journal.read(at).ok()?;
    let (message, body) = message_of(&bytes)?;
    Some(HeldMessage { id: message.0, timestamp_ns: message.1, body, position: at })
}

/// Id, timestamp and body of a message's record.
pub(super) fn message_of(bytes: &Bytes) -> Option<((u64, u64), Bytes)> {
    let (message, body) = match Record::decode(bytes).ok()? {
        Record::Message(message, body) => (message, body),
        Record::Moved(moved, body) => (moved.message, body),
        _ => return None,
    };
    Some(((message.id, message.timestamp_ns), bytes.slice(bytes.len() - body.len()..)))
}

impl State {
    /// The ephemeral channels: gone, when the broker starts.
    pub(super) fn ephemeral_channels(&self) -> Vec<(u32, TopicName, ChannelName)> {
        let ephemeral = self.channels.iter().filter(|(_, channel)| channel.name.is_ephemeral());
        let named = ephemeral.filter_map(|(number, channel)| {
            let topic = self.topics.get(&channel.topic)?;
            Some((*number, topic.name.clone(), channel.name.clone()))
        });
        named.collect()
    }
}
