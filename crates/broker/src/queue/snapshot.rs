//! The state as a checkpoint's bytes.
//!
//! Version (1), next id, reserved ids' end, last timestamp, last channel number; then the topics, each with its flags, delays,
//! index and channels, each channel with its name, number, flags and, if the log has its messages, its backlog. `#ephemeral`
//! topics are left out. Ephemeral channels are kept without their messages: until the log says that they went, they
//! are there for the fan-out.

use wire::{ChannelName, TopicName};

use super::backlog::Backlog;
use super::channel::{Channel, Store};
use super::held::Held;
use super::index::Index;
use super::slot::Slot;
use super::state::State;
use super::topic::Topic;
use super::varint::{Malformed, Reader, put, put_bytes};

const VERSION: u8 = 1;

/// The version of a state that only a newer program knows.
pub(super) fn newer_version(bytes: &[u8]) -> Option<u8> {
    bytes.first().copied().filter(|version| *version > VERSION)
}

impl State {
    /// Writes everything down.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put(&mut out, self.next_id);
        put(&mut out, self.ids_end);
        put(&mut out, self.last_timestamp_ns);
        put(&mut out, u64::from(self.next_channel));
        let topics = self.names.values().filter_map(|number| self.topics.get(number));
        let topics: Vec<&Topic> = topics.filter(|topic| !topic.is_memory()).collect();
        put(&mut out, topics.len() as u64);
        for topic in topics {
            self.encode_topic(&mut out, topic);
        }
        out
    }

    fn encode_topic(&self, out: &mut Vec<u8>, topic: &Topic) {
        put_bytes(out, topic.name.as_str().as_bytes());
        out.push(u8::from(topic.paused));
        out.push(u8::from(topic.held));
        topic.index.encode(out);
        put(out, topic.delays.len() as u64);
        for (slot, delay_ms) in &topic.delays {
            put(out, u64::from(slot.segment));
            put(out, u64::from(slot.ordinal));
            put(out, *delay_ms);
        }
        put(out, topic.channels.len() as u64);
        for (number, channel) in topic.channels.iter().filter_map(|it| Some((it, self.channels.get(it)?))) {
            put_bytes(out, channel.name.as_str().as_bytes());
            put(out, u64::from(*number));
            out.push(u8::from(channel.paused));
            if let Some(backlog) = channel.backlog() {
                backlog.encode(out, &channel.out());
            }
        }
    }

    /// Reads what [`encode`](Self::encode) wrote. `held_max` as in the state.
    pub(super) fn decode(bytes: &[u8], held_max: u64) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        if reader.byte()? != VERSION {
            return Err(Malformed);
        }
        let mut state = Self { held_max, next_id: reader.u64()?, ..Self::default() };
        state.ids_end = reader.u64()?;
        state.last_timestamp_ns = reader.u64()?;
        state.next_channel = reader.u32()?;
        for _ in 0..reader.count(4)? {
            state.decode_topic(&mut reader)?;
        }
        state.open_books();
        if reader.is_empty() { Ok(state) } else { Err(Malformed) }
    }

    fn decode_topic(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let name = TopicName::new(reader.text()?).map_err(|_| Malformed)?;
        let number = self.create_topic(&name, false);
        let mut topic = Topic::new(name, false);
        topic.paused = reader.flag()?;
        topic.held = reader.flag()?;
        topic.index = Index::decode(reader)?;
        for _ in 0..reader.count(3)? {
            let slot = Slot { segment: reader.u32()?, ordinal: reader.u32()? };
            topic.delays.insert(slot, reader.u64()?);
        }
        for _ in 0..reader.count(3)? {
            let name = ChannelName::new(reader.text()?).map_err(|_| Malformed)?;
            let channel_number = reader.u32()?;
            let paused = reader.flag()?;
            let store = if name.is_ephemeral() {
                Store::Memory(Held::new(self.held_max))
            } else {
                Store::Log(Box::new(Backlog::decode(reader)?))
            };
            let mut channel = Channel::new(name, number, store);
            channel.paused = paused;
            topic.channels.push(channel_number);
            self.channels.insert(channel_number, channel);
        }
        self.topics.insert(number, topic);
        Ok(())
    }
}
