//! Many FINs, REQs and timeouts packed into one record, a few bytes each.
//!
//! A group for each channel: its number, how many bytes follow, then the settles in the order in which they
//! happened. One is a byte of kind, source and whether the segment changes; the position, told from the one
//! before; and for what comes back its attempts and when it is due.
//!
//! Deliveries are not logged, so a settle also says where the message was taken from. Replaying, that source is drained
//! up to the message, as it was then: what is drained on the way was out at consumers, and is ready again at the end.

use journal::Position;

use super::varint::{Malformed, Reader, put, unzigzag, zigzag};

/// From which part of a channel a message was handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Source {
    /// It had never been handed out.
    Unread = 0,
    /// It was to be handed out again.
    Again = 1,
    /// Its time had come.
    Deferred = 2,
}

impl Source {
    pub(super) fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::Unread),
            1 => Some(Self::Again),
            2 => Some(Self::Deferred),
            _ => None,
        }
    }
}

/// How a delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// FIN: the channel is done with it.
    Finished,
    /// REQ 0, a timeout, or its client went: ready again, behind the others.
    Ready { attempts: u16 },
    /// REQ with a delay.
    Deferred { attempts: u16, due_ms: u64 },
}

/// One FIN, REQ or timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settle {
    pub(super) position: Position,
    pub(super) source: Source,
    pub(super) ending: Ending,
}

const FINISHED: u8 = 0;
const READY: u8 = 1;
const DEFERRED: u8 = 2;
const SOURCE_SHIFT: u32 = 2;
const NEW_SEGMENT: u8 = 1 << 4;

/// The settles of one channel, packed.
#[derive(Debug)]
struct Group {
    channel: u32,
    bytes: Vec<u8>,
    last: Position,
}

/// What was settled and is not appended yet.
#[derive(Debug, Default)]
pub(super) struct Settles {
    groups: Vec<Group>,
    bytes: usize,
}

const NOWHERE: Position = Position { segment: 0, offset: 0 };

impl Settles {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Bytes packed so far, but for the groups' heads.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Packs one.
    pub(super) fn push(&mut self, channel: u32, settle: Settle) {
        // The last group is nearly always the right one: a session settles for one channel.
        let at = self.groups.iter().rposition(|group| group.channel == channel);
        let at = at.unwrap_or_else(|| {
            self.groups.push(Group { channel, bytes: Vec::new(), last: NOWHERE });
            self.groups.len() - 1
        });
        let group = &mut self.groups[at];
        let before = group.bytes.len();
        encode(&mut group.bytes, &mut group.last, settle);
        self.bytes += group.bytes.len() - before;
    }

    /// Gives back everything packed, as a record's bytes behind its first one, and begins anew.
    pub(super) fn take(&mut self, at_ms: u64, out: &mut Vec<u8>) {
        put(out, at_ms);
        for group in self.groups.drain(..) {
            put(out, u64::from(group.channel));
            put(out, group.bytes.len() as u64);
            out.extend_from_slice(&group.bytes);
        }
        self.bytes = 0;
    }
}

fn encode(out: &mut Vec<u8>, last: &mut Position, settle: Settle) {
    let Settle { position, source, ending } = settle;
    let kind = match ending {
        Ending::Finished => FINISHED,
        Ending::Ready { .. } => READY,
        Ending::Deferred { .. } => DEFERRED,
    };
    let new_segment = position.segment != last.segment;
    out.push(kind | (source as u8) << SOURCE_SHIFT | if new_segment { NEW_SEGMENT } else { 0 });
    if new_segment {
        put(out, zigzag(i64::from(position.segment) - i64::from(last.segment)));
    }
    put(out, zigzag(i64::from(position.offset) - i64::from(last.offset)));
    match ending {
        Ending::Finished => {}
        Ending::Ready { attempts } => put(out, u64::from(attempts)),
        Ending::Deferred { attempts, due_ms } => {
            put(out, u64::from(attempts));
            put(out, due_ms);
        }
    }
    *last = position;
}

/// Calls `visit` with every settle of a record, its channel's number, and the record's time.
pub(super) fn each(bytes: &[u8], mut visit: impl FnMut(u64, u32, Settle)) -> Result<(), Malformed> {
    let mut reader = Reader(bytes);
    let at_ms = reader.u64()?;
    while !reader.is_empty() {
        let channel = reader.u32()?;
        let mut group = Reader(reader.bytes()?);
        let mut last = NOWHERE;
        while !group.is_empty() {
            visit(at_ms, channel, decode(&mut group, &mut last)?);
        }
    }
    Ok(())
}

fn decode(reader: &mut Reader<'_>, last: &mut Position) -> Result<Settle, Malformed> {
    let head = reader.byte()?;
    let source = Source::from_bits(head >> SOURCE_SHIFT & 3).ok_or(Malformed)?;
    let segment = if head & NEW_SEGMENT == 0 { last.segment } else { step(last.segment, reader.u64()?)? };
    let offset = step(last.offset, reader.u64()?)?;
    let ending = match head & 3 {
        FINISHED => Ending::Finished,
        READY => Ending::Ready { attempts: reader.u16()? },
        DEFERRED => Ending::Deferred { attempts: reader.u16()?, due_ms: reader.u64()? },
        _ => return Err(Malformed),
    };
    *last = Position { segment, offset };
    Ok(Settle { position: *last, source, ending })
}

fn step(from: u32, zigzagged: u64) -> Result<u32, Malformed> {
    let to = i64::from(from).checked_add(unzigzag(zigzagged)).ok_or(Malformed)?;
    u32::try_from(to).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(segment: u32, offset: u32, source: Source, ending: Ending) -> Settle {
        Settle { position: Position { segment, offset }, source, ending }
    }

    #[test]
    fn settles_come_back_in_each_channels_order() {
        let given = [
            (7, settle(3, 100, Source::Unread, Ending::Finished)),
            (8, settle(3, 100, Source::Again, Ending::Ready { attempts: 9 })),
            (
                7,
                settle(
                    1,
                    8_000_000,
                    Source::Deferred,
                    Ending::Deferred { attempts: 65_535, due_ms: 1 << 41 },
                ),
            ),
            (7, settle(u32::MAX, 0, Source::Unread, Ending::Finished)),
        ];
        let mut settles = Settles::default();
        given.iter().for_each(|(channel, settle)| settles.push(*channel, *settle));
        let mut bytes = Vec::new();
        settles.take(55, &mut bytes);
        assert!(settles.is_empty());
        let mut back = Vec::new();
        each(&bytes, |at_ms, channel, settle| {
            assert_eq!(at_ms, 55);
            back.push((channel, settle));
        })
        .expect("what was just written");
        assert_eq!(back, [given[0], given[2], given[3], given[1]]);
        for end in 1..bytes.len() {
            // A cut on a group's border reads as fewer settles; anywhere else it is refused.
            let mut count = 0;
            let read = each(&bytes[..end], |_, _, _| count += 1);
            assert!(read.is_err() || count < given.len());
        }
    }

    #[test]
    fn finishing_in_order_costs_a_few_bytes() {
        let mut settles = Settles::default();
        (0..1000).for_each(|at| settles.push(1, settle(5, at * 1060, Source::Unread, Ending::Finished)));
        assert!(settles.bytes() <= 3_010, "{}", settles.bytes());
    }
}
