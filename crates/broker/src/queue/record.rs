//! The records of the log: what they say, and their bytes.
//!
//! | first byte | record | then |
//! |---|---|---|
//! | 1 | message | topic, id and timestamp (8 bytes each, little-endian), delay in ms; the rest is the body |
//! | 2 | moved | topic, id, timestamp, delay in ms, old position, whether no channel had it yet, the channels that still wait for it; the rest is the body |
//! | 3 | settles | time, then a group for each channel: see `settle` |
//! | 4 to 7 | topic created, deleted, paused, emptied | topic; time; what changes |
//! | 8 to 11 | channel created, deleted, paused, emptied | topic, channel; its number; time |
//! | 12 | gate opened | topic, time |
//! | 13 | ids reserved | the first id that is not |
//! | 14 | withdrawn | position of the first message of a publish that was refused after a part of it was appended; all from there on are it |
//!
//! A record whose fields change is a new kind: a start refuses kinds beyond the last one as a newer program's, where a
//! record of a known kind that makes no sense is skipped and counted.
//!
//! Numbers are varints, names a byte of length and the text, times milliseconds since 1970 unless said otherwise.
//!
//! Topics are written as names, so that a lost record of a topic's creation costs nothing: the next message makes it
//! again. Settles are too small for that and write the channel's number; one that nobody knows is skipped, and the
//! message comes twice rather than never.

use journal::Position;
use wire::{ChannelName, TopicName};

use super::settle::Source;
use super::varint::{Malformed, Reader, put, put_bytes};

const MESSAGE: u8 = 1;
const MOVED: u8 = 2;
pub(super) const SETTLES: u8 = 3;
const TOPIC_CREATED: u8 = 4;
const TOPIC_DELETED: u8 = 5;
const TOPIC_PAUSED: u8 = 6;
const TOPIC_EMPTIED: u8 = 7;
const CHANNEL_CREATED: u8 = 8;
const CHANNEL_DELETED: u8 = 9;
const CHANNEL_PAUSED: u8 = 10;
const CHANNEL_EMPTIED: u8 = 11;
const GATE_OPENED: u8 = 12;
const IDS_RESERVED: u8 = 13;
const WITHDRAWN: u8 = 14;
const LAST_KIND: u8 = WITHDRAWN;

/// A message as it was published, but for its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MessageRecord<'a> {
    pub(super) topic: &'a str,
    pub(super) id: u64,
    pub(super) timestamp_ns: u64,
    /// DPUB's delay, counted from the fan-out.
    pub(super) defer_ms: u64,
}

/// Where a channel keeps a message that is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Never handed out.
    Unread,
    /// To be handed out again.
    Again { attempts: u16 },
    /// Not before its time.
    Deferred { attempts: u16, due_ms: u64 },
    /// At a consumer, from where it was taken.
    InFlight { attempts: u16, source: Source },
}

/// A message appended afresh so that its old segment can go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MovedRecord<'a> {
    pub(super) message: MessageRecord<'a>,
    pub(super) old: Position,
    /// Whether no channel had been given it yet.
    pub(super) waiting: bool,
    /// The channels that still wait for it, by number.
    pub(super) places: Vec<(u32, Place)>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record<'a> {
    Message(MessageRecord<'a>, &'a [u8]),
    Moved(MovedRecord<'a>, &'a [u8]),
    Settles(&'a [u8]),
    TopicCreated { topic: TopicName, held: bool },
    TopicDeleted { topic: TopicName },
    TopicPaused { topic: TopicName, paused: bool, at_ms: u64 },
    TopicEmptied { topic: TopicName },
    ChannelCreated { topic: TopicName, channel: ChannelName, number: u32, at_ms: u64 },
    ChannelDeleted { topic: TopicName, channel: ChannelName },
    ChannelPaused { topic: TopicName, channel: ChannelName, paused: bool },
    ChannelEmptied { topic: TopicName, channel: ChannelName },
    GateOpened { topic: TopicName, at_ms: u64 },
    IdsReserved { end: u64 },
    Withdrawn { from: Position },
}

impl MessageRecord<'_> {
    /// The bytes before the body.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.push(MESSAGE);
        self.encode_fields(out);
    }

    fn encode_fields(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.topic.as_bytes());
        out.extend_from_slice(&self.id.to_le_bytes());
        out.extend_from_slice(&self.timestamp_ns.to_le_bytes());
        put(out, self.defer_ms);
    }
}

impl<'a> MessageRecord<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let topic = reader.text()?;
        let id = fixed(reader)?;
        let timestamp_ns = fixed(reader)?;
        Ok(Self { topic, id, timestamp_ns, defer_ms: reader.u64()? })
    }
}

impl MovedRecord<'_> {
    /// The bytes before the body.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.push(MOVED);
        self.message.encode_fields(out);
        put(out, u64::from(self.old.segment));
        put(out, u64::from(self.old.offset));
        out.push(u8::from(self.waiting));
        put(out, self.places.len() as u64);
        for (channel, place) in &self.places {
            put(out, u64::from(*channel));
            encode_place(out, *place);
        }
    }
}

fn encode_place(out: &mut Vec<u8>, place: Place) {
    match place {
        Place::Unread => out.push(0),
        Place::Again { attempts } => {
            out.push(1);
            put(out, u64::from(attempts));
        }
        Place::Deferred { attempts, due_ms } => {
            out.push(2);
            put(out, u64::from(attempts));
            put(out, due_ms);
        }
        Place::InFlight { attempts, source } => {
            out.push(3 + source as u8);
            put(out, u64::from(attempts));
        }
    }
}

fn decode_place(reader: &mut Reader<'_>) -> Result<Place, Malformed> {
    Ok(match reader.byte()? {
        0 => Place::Unread,
        1 => Place::Again { attempts: reader.u16()? },
        2 => Place::Deferred { attempts: reader.u16()?, due_ms: reader.u64()? },
        kind => {
            let source = Source::from_bits(kind.wrapping_sub(3)).ok_or(Malformed)?;
            Place::InFlight { attempts: reader.u16()?, source }
        }
    })
}

impl<'a> MovedRecord<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let message = MessageRecord::decode(reader)?;
        let old = Position { segment: reader.u32()?, offset: reader.u32()? };
        let waiting = reader.flag()?;
        let count = reader.count(2)?;
        let places = (0..count).map(|_| Ok((reader.u32()?, decode_place(reader)?)));
        let places = places.collect::<Result<_, Malformed>>()?;
        Ok(Self { message, old, waiting, places })
    }
}

/// The kind of a record that only a newer program knows.
pub(super) fn newer_kind(bytes: &[u8]) -> Option<u8> {
    bytes.first().copied().filter(|kind| *kind > LAST_KIND)
}

impl<'a> Record<'a> {
    /// Reads a record.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        let kind = reader.byte()?;
        let record = match kind {
            MESSAGE => return Ok(Self::Message(MessageRecord::decode(&mut reader)?, reader.0)),
            MOVED => return Ok(Self::Moved(MovedRecord::decode(&mut reader)?, reader.0)),
            SETTLES => return Ok(Self::Settles(reader.0)),
            IDS_RESERVED => Self::IdsReserved { end: reader.u64()? },
            WITHDRAWN => Self::Withdrawn { from: Position { segment: reader.u32()?, offset: reader.u32()? } },
            _ => Self::decode_named(kind, &mut reader)?,
        };
        if reader.is_empty() { Ok(record) } else { Err(Malformed) }
    }

    fn decode_named(kind: u8, reader: &mut Reader<'_>) -> Result<Record<'a>, Malformed> {
        let topic = TopicName::new(reader.text()?).map_err(|_| Malformed)?;
        Ok(match kind {
            TOPIC_CREATED => Self::TopicCreated { topic, held: reader.flag()? },
            TOPIC_DELETED => Self::TopicDeleted { topic },
            TOPIC_PAUSED => Self::TopicPaused { topic, paused: reader.flag()?, at_ms: reader.u64()? },
            TOPIC_EMPTIED => Self::TopicEmptied { topic },
            GATE_OPENED => Self::GateOpened { topic, at_ms: reader.u64()? },
            _ => {
                let channel = ChannelName::new(reader.text()?).map_err(|_| Malformed)?;
                Self::decode_of_channel(kind, topic, channel, reader)?
            }
        })
    }

    fn decode_of_channel(
        kind: u8,
        topic: TopicName,
        channel: ChannelName,
        reader: &mut Reader<'_>,
    ) -> Result<Record<'a>, Malformed> {
        Ok(match kind {
            CHANNEL_CREATED => {
                Self::ChannelCreated { topic, channel, number: reader.u32()?, at_ms: reader.u64()? }
            }
            CHANNEL_DELETED => Self::ChannelDeleted { topic, channel },
            CHANNEL_PAUSED => Self::ChannelPaused { topic, channel, paused: reader.flag()? },
            CHANNEL_EMPTIED => Self::ChannelEmptied { topic, channel },
            _ => return Err(Malformed),
        })
    }

    /// The whole record, of those without a body.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let (kind, topic, channel) = match self {
            Self::Message(message, body) => {
                message.encode(out);
                return out.extend_from_slice(body);
            }
            Self::Moved(moved, body) => {
                moved.encode(out);
                return out.extend_from_slice(body);
            }
            Self::Settles(groups) => {
                out.push(SETTLES);
                return out.extend_from_slice(groups);
            }
            Self::IdsReserved { end } => {
                out.push(IDS_RESERVED);
                return put(out, *end);
            }
            Self::Withdrawn { from } => {
                out.push(WITHDRAWN);
                put(out, u64::from(from.segment));
                return put(out, u64::from(from.offset));
            }
            Self::TopicCreated { topic, .. } => (TOPIC_CREATED, topic, None),
            Self::TopicDeleted { topic } => (TOPIC_DELETED, topic, None),
            Self::TopicPaused { topic, .. } => (TOPIC_PAUSED, topic, None),
            Self::TopicEmptied { topic } => (TOPIC_EMPTIED, topic, None),
            Self::GateOpened { topic, .. } => (GATE_OPENED, topic, None),
            Self::ChannelCreated { topic, channel, .. } => (CHANNEL_CREATED, topic, Some(channel)),
            Self::ChannelDeleted { topic, channel } => (CHANNEL_DELETED, topic, Some(channel)),
            Self::ChannelPaused { topic, channel, .. } => (CHANNEL_PAUSED, topic, Some(channel)),
            Self::ChannelEmptied { topic, channel } => (CHANNEL_EMPTIED, topic, Some(channel)),
        };
        out.push(kind);
        put_bytes(out, topic.as_str().as_bytes());
        if let Some(channel) = channel {
            put_bytes(out, channel.as_str().as_bytes());
        }
        self.encode_change(out);
    }

    /// What comes behind the names.
    fn encode_change(&self, out: &mut Vec<u8>) {
        match self {
            Self::TopicCreated { held: flag, .. } | Self::ChannelPaused { paused: flag, .. } => {
                out.push(u8::from(*flag));
            }
            Self::TopicPaused { paused, at_ms, .. } => {
                out.push(u8::from(*paused));
                put(out, *at_ms);
            }
            Self::GateOpened { at_ms, .. } => put(out, *at_ms),
            Self::ChannelCreated { number, at_ms, .. } => {
                put(out, u64::from(*number));
                put(out, *at_ms);
            }
            _ => {}
        }
    }
}

fn fixed(reader: &mut Reader<'_>) -> Result<u64, Malformed> {
    let bytes = reader.take(8)?;
    Ok(u64::from_le_bytes(bytes.try_into().map_err(|_| Malformed)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(record: &Record<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        bytes
    }

    #[test]
    fn a_kind_beyond_the_last_one_is_a_newer_programs() {
        let kinds: Vec<u8> = all().iter().map(|record| encoded(record)[0]).collect();
        assert_eq!(kinds.iter().max(), Some(&LAST_KIND), "the last kind is one of these");
        assert!(kinds.iter().all(|kind| newer_kind(&[*kind]).is_none()));
        assert_eq!(
            (newer_kind(&[LAST_KIND + 1, 0]), newer_kind(&[0]), newer_kind(&[])),
            (Some(LAST_KIND + 1), None, None)
        );
    }

    fn all() -> Vec<Record<'static>> {
        let topic = TopicName::new("events").expect("valid");
        let channel = ChannelName::new("api#ephemeral").expect("valid");
        let (topic, channel) = (|| topic.clone(), || channel.clone());
        let message = MessageRecord { topic: "events", id: u64::MAX, timestamp_ns: 7, defer_ms: 300 };
        let places = vec![
            (1, Place::Unread),
            (700, Place::Again { attempts: 65_535 }),
            (3, Place::Deferred { attempts: 1, due_ms: u64::MAX }),
            (4, Place::InFlight { attempts: 2, source: Source::Deferred }),
        ];
        let old = Position { segment: 900, offset: 8_000_000 };
        vec![
            Record::Message(message, b"body"),
            Record::Moved(MovedRecord { message, old, waiting: true, places }, b""),
            Record::Settles(b"groups"),
            Record::TopicCreated { topic: topic(), held: true },
            Record::TopicDeleted { topic: topic() },
            Record::TopicPaused { topic: topic(), paused: true, at_ms: 1 << 40 },
            Record::TopicEmptied { topic: topic() },
            Record::ChannelCreated { topic: topic(), channel: channel(), number: 300, at_ms: 1 },
            Record::ChannelDeleted { topic: topic(), channel: channel() },
            Record::ChannelPaused { topic: topic(), channel: channel(), paused: false },
            Record::ChannelEmptied { topic: topic(), channel: channel() },
            Record::GateOpened { topic: topic(), at_ms: 5 },
            Record::IdsReserved { end: u64::MAX },
            Record::Withdrawn { from: Position { segment: 3, offset: 70_000 } },
        ]
    }

    #[test]
    fn every_record_comes_back() {
        for record in all() {
            assert_eq!(Record::decode(&encoded(&record)).as_ref(), Ok(&record));
        }
    }

    #[test]
    fn no_cut_record_panics_and_none_without_a_body_is_taken() {
        for record in all() {
            let bytes = encoded(&record);
            let is_open = matches!(record, Record::Message(..) | Record::Moved(..) | Record::Settles(_));
            for end in 0..bytes.len() {
                assert!(Record::decode(&bytes[..end]).is_err() || is_open, "{record:?} cut at {end}");
            }
        }
        assert!(Record::decode(&[99, 1, b'a', 1, b'b']).is_err());
    }
}
