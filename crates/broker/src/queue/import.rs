//! Taking over messages of another queue: their own timestamps and attempts, and of one channel alone where only that
//! waits for them.
//!
//! A message of one channel is written as one that was moved here from where nothing is, so that the log needs no record
//! of its own for it. Nobody is subscribed yet when this is used.

use bytes::Bytes;
use journal::{Class, Position};
use wire::{ChannelName, TopicName};

use super::Commit;
use super::core::Core;
use super::error::{AdminError, Refused};
use super::record::{MessageRecord, MovedRecord, Place};

/// Where no record can be.
const NOWHERE: Position = Position { segment: u32::MAX, offset: u32::MAX };

/// A message of another queue. It gets an id of this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedMessage {
    /// When it was published, nanoseconds since 1970.
    pub timestamp_ns: u64,
    /// How often it has been delivered; not kept where every channel gets it.
    pub attempts: u16,
    /// The message.
    pub body: Bytes,
}

impl Core {
    /// Appends messages to one channel, or to the topic.
    pub(super) fn import(
        &mut self,
        topic: &TopicName,
        channel: Option<&ChannelName>,
        messages: &[ImportedMessage],
    ) -> Result<Commit, AdminError> {
        self.may_append()?;
        let bodies: Vec<Bytes> = messages.iter().map(|message| message.body.clone()).collect();
        self.check_bounds(topic, &bodies)?;
        let number = *self.state.names.get(topic).ok_or(AdminError::TopicNotFound)?;
        let channel = match channel {
            Some(name) => Some(self.channel_number(number, name).ok_or(AdminError::ChannelNotFound)?),
            None => None,
        };
        for message in messages {
            self.import_one(topic, number, channel, message)?;
        }
        self.commits.publishes += 1;
        Ok(self.commit_soon())
    }

    fn import_one(
        &mut self,
        topic: &TopicName,
        number: u32,
        channel: Option<u32>,
        imported: &ImportedMessage,
    ) -> Result<(), Refused> {
        self.reserve_ids()?;
        let message = self.message(topic, 0);
        // The other queue's file has no checksum, and times here only rise: one of the far future would be every later
        // message's.
        let timestamp_ns = imported.timestamp_ns.min(message.timestamp_ns);
        let message = MessageRecord { timestamp_ns, ..message };
        let mut head = Vec::new();
        let Some(channel) = channel else {
            message.encode(&mut head);
            let at = self.append(&[&head, &imported.body], Class::Ordinary)?;
            self.state.publish(at, &message, &imported.body, number);
            return Ok(());
        };
        let place = match imported.attempts {
            0 => Place::Unread,
            attempts => Place::Again { attempts },
        };
        let record = MovedRecord { message, old: NOWHERE, waiting: false, places: vec![(channel, place)] };
        record.encode(&mut head);
        let at = self.append(&[&head, &imported.body], Class::Ordinary)?;
        self.state.moved(at, &record, imported.body.len(), number);
        Ok(())
    }

    fn channel_number(&self, topic: u32, name: &ChannelName) -> Option<u32> {
        let channels = &self.state.topics.get(&topic)?.channels;
        channels
            .iter()
            .copied()
            .find(|number| self.state.channels.get(number).is_some_and(|channel| channel.name == *name))
    }
}
