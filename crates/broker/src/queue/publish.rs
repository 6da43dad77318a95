//! Publishing: bounds, ids, records.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use journal::{Class, Position};
use wire::TopicName;

use super::Commit;
use super::commits::Commits;
use super::core::Core;
use super::error::{Bound, Refused};
use super::record::{MessageRecord, Record};
use super::stats::Change;

impl Core {
    /// Appends messages to a topic. All or nothing.
    pub(super) fn publish(
        &mut self,
        topic: &TopicName,
        bodies: &[Bytes],
        defer: Duration,
    ) -> Result<Commit, Refused> {
        self.may_append()?;
        self.check_bounds(topic, bodies)?;
        let number = self.topic_for(topic)?;
        let defer_ms = u64::try_from(defer.as_millis()).unwrap_or(u64::MAX);
        if topic.is_ephemeral() {
            return self.publish_held(topic, number, bodies, defer_ms);
        }
        let mut first = None;
        for body in bodies {
            match self.publish_one(topic, number, body, defer_ms) {
                Ok(at) => _ = first.get_or_insert(at),
                Err(refused) => {
                    first.into_iter().for_each(|first| self.withdraw(first));
                    return Err(refused);
                }
            }
        }
        self.commits.publishes += 1;
        Ok(self.commit_soon())
    }

    /// Forgets the part of an MPUB that was appended before the rest was refused: nothing else was appended since.
    fn withdraw(&mut self, first: Position) {
        self.log_or_doubt(&Record::Withdrawn { from: first });
        self.state.forget_from(first, &BTreeSet::new());
        // The kernel may have the part already.
        self.write_log();
        self.commit_soon();
    }

    fn publish_one(
        &mut self,
        topic: &TopicName,
        number: u32,
        body: &Bytes,
        defer_ms: u64,
    ) -> Result<Position, Refused> {
        self.reserve_ids()?;
        let message = self.message(topic, defer_ms);
        let mut head = std::mem::take(&mut self.scratch);
        head.clear();
        message.encode(&mut head);
        let appended = self.append(&[&head, body], Class::Ordinary);
        self.scratch = head;
        let at = appended?;
        self.state.publish(at, &message, body, number);
        Ok(at)
    }

    fn publish_held(
        &mut self,
        topic: &TopicName,
        number: u32,
        bodies: &[Bytes],
        defer_ms: u64,
    ) -> Result<Commit, Refused> {
        self.reserve_ids_durably(bodies.len())?;
        for body in bodies {
            let message = self.message(topic, defer_ms);
            self.state.publish_held(number, &message, body);
        }
        let fresh = self.state.topics.get(&number).map(|topic| topic.channels.clone());
        self.wake_channels(&fresh.unwrap_or_default());
        Ok(Commits::GRANTED)
    }

    /// The next message's head.
    pub(super) fn message<'a>(&mut self, topic: &'a TopicName, defer_ms: u64) -> MessageRecord<'a> {
        let timestamp_ns = self.clock.now_ns().max(self.state.last_timestamp_ns);
        MessageRecord { topic: topic.as_str(), id: self.state.next_id, timestamp_ns, defer_ms }
    }

    /// Makes a topic, if it lacks; its number.
    pub(super) fn topic_for(&mut self, topic: &TopicName) -> Result<u32, Refused> {
        if let Some(number) = self.state.names.get(topic) {
            return Ok(*number);
        }
        self.may_append()?;
        let limit = self.settings.topics_max;
        if self.state.topics.len() >= limit as usize {
            return Err(Refused::Full { what: Bound::Topics, limit: u64::from(limit) });
        }
        let held = self.settings.hold_new_topics;
        if !topic.is_ephemeral() {
            self.log(&Record::TopicCreated { topic: topic.clone(), held }, Class::Ordinary)?;
            self.changed = true;
        }
        let number = self.state.create_topic(topic, held);
        self.tell(&Change::TopicCreated(topic.clone()));
        Ok(number)
    }

    pub(super) fn check_bounds(&mut self, topic: &TopicName, bodies: &[Bytes]) -> Result<(), Refused> {
        let limit = self.settings.max_msg_size;
        if let Some(body) = bodies.iter().find(|body| body.len() as u64 > limit) {
            return Err(Refused::TooLarge { bytes: body.len() as u64, limit });
        }
        if topic.is_ephemeral() {
            return Ok(());
        }
        let messages = bodies.len() as u64;
        let bytes = bodies.iter().map(|body| body.len() as u64).sum::<u64>();
        let of_topic = self.state.topic(topic).map_or((0, 0), |topic| (topic.live, topic.bytes));
        let settings = &self.settings;
        let bounds = [
            (Bound::TopicMessages, of_topic.0 + messages, settings.topic_messages_max),
            (Bound::TopicBytes, of_topic.1 + bytes, settings.topic_bytes_max),
            (Bound::Messages, self.state.live + messages, settings.messages_max),
            (Bound::Bytes, self.state.bytes + bytes, settings.bytes_max),
        ];
        match bounds.into_iter().find(|(_, count, limit)| count > limit) {
            Some((what, _, limit)) => Err(Refused::Full { what, limit }),
            None => self.check_room(bytes + messages * 128),
        }
    }

    /// An MPUB of which the disk takes a part would not be refused whole.
    fn check_room(&mut self, bytes: u64) -> Result<(), Refused> {
        let room = &mut self.room;
        if room.full || room.free.saturating_sub(room.reserve) < bytes {
            // Until it is asked again: what refuses one message must show.
            room.full = true;
            return Err(Refused::Full { what: Bound::DiskReserve, limit: room.reserve });
        }
        room.free -= bytes;
        Ok(())
    }
}
