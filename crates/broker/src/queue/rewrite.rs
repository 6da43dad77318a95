//! Rewriting: what is live in a segment that is mostly dead is appended afresh, so that the segment can go. Else one
//! unfinished message would keep it for ever.
//!
//! A moved message is in the log twice until its segment goes. If the second copy is lost with a failed sync, it is
//! made again from the first one, before any later sync may count.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use journal::{Class, Position, ReadError, SegmentState};
use wire::TopicName;

use super::admin::message_of;
use super::channel::{Channel, Hold};
use super::core::{Core, SETTLES_SYNC_MS};
use super::error::Refused;
use super::record::{MessageRecord, MovedRecord, Place};
use super::settle::{Ending, Settle, Source};
use super::slot::Slot;
use super::topic::Topic;

/// A segment of which less than one in this many bytes is live is rewritten.
const SPARSE: u64 = 4;
/// Bytes that are moved in one step, ten times a second: fast enough for any load, and 10 ms at most.
const STEP_BYTES: u64 = 2 * 1024 * 1024;
/// Messages that are moved in one step.
const STEP_MESSAGES: usize = 2_000;
/// Segments that are looked at in one step.
const STEP_SEGMENTS: usize = 8;

/// A message that was appended afresh.
#[derive(Debug, Clone)]
struct Move {
    topic: TopicName,
    old: Position,
    new: Position,
}

/// Moves under way.
#[derive(Debug, Default)]
pub(super) struct Rewriting {
    /// Those whose second copy is not durable.
    moves: Vec<Move>,
    /// Those whose second copy is lost.
    lost: Vec<Move>,
    /// Segments of which a message can be neither read nor appended now. They are left alone until the next start: one bad
    /// sector must not keep all the others.
    stuck: BTreeSet<u32>,
}

impl Rewriting {
    /// Everything appended from here on is lost.
    pub(super) fn lose(&mut self, from: Position) {
        self.lost.extend(self.moves.extract_if(.., |it| it.new >= from));
    }

    /// The second copies that are lost.
    pub(super) fn lost(&self) -> BTreeSet<Position> {
        self.lost.iter().map(|it| it.new).collect()
    }

    /// Whether a second copy was appended from here on, or is lost.
    pub(super) fn any_from(&self, from: Position) -> bool {
        !self.lost.is_empty() || self.moves.iter().any(|it| it.new >= from)
    }

    /// Everything appended before is durable.
    pub(super) fn keep(&mut self, durable: Position) {
        self.moves.retain(|it| it.new >= durable);
    }
}

/// Why a message was not moved.
enum NotMoved {
    /// The disk takes nothing now: nor would it the next one.
    Now,
    /// This one cannot be.
    Stuck,
}

/// A message to be moved.
struct Planned {
    topic: u32,
    name: TopicName,
    slot: Slot,
    at: Position,
    waiting: bool,
    places: Vec<(u32, Place)>,
}

impl Core {
    /// Moves what a step may. Half of the reserve is left: for what is finished meanwhile, and for the checkpoints without
    /// which nothing of what was moved would be given back.
    pub(super) fn rewrite(&mut self) {
        let (mut bytes, mut messages) = (STEP_BYTES, STEP_MESSAGES);
        for segment in self.sparse_segments().into_iter().take(STEP_SEGMENTS) {
            let room = self.journal.space();
            if room.free < room.reserve / 2 {
                return;
            }
            // What was settled before a message moves must be read before it: the order of the log is what happened.
            self.append_settles();
            for planned in self.plan(segment, messages) {
                let moved = match self.move_one(&planned) {
                    Ok(moved) => moved,
                    Err(NotMoved::Now) => return,
                    Err(NotMoved::Stuck) => {
                        tracing::warn!(at = %planned.at, "a message cannot be moved: its segment stays");
                        self.rewriting.stuck.insert(segment);
                        break;
                    }
                };
                bytes = bytes.saturating_sub(moved);
                messages -= 1;
                if bytes == 0 || messages == 0 {
                    return;
                }
            }
        }
    }

    /// Sealed segments of which little is live, the emptiest first. Only what is durable is moved: who is given a message
    /// relies on one of its copies.
    fn sparse_segments(&self) -> Vec<u32> {
        let durable = self.journal.durable();
        let is_durable = |it: &SegmentState| Position { segment: it.number, offset: it.bytes } <= durable;
        let sparse = self.journal.segments().filter(|it| it.sealed && !it.retired && is_durable(it));
        let sparse = sparse.filter(|it| !self.rewriting.stuck.contains(&it.number));
        let mut sparse: Vec<(u64, u32)> = sparse.filter_map(|it| self.sparse(it)).collect();
        sparse.sort_unstable();
        sparse.into_iter().map(|(_, number)| number).collect()
    }

    fn sparse(&self, segment: SegmentState) -> Option<(u64, u32)> {
        let usage = self.state.usage.get(&segment.number)?;
        (usage.bytes * SPARSE < u64::from(segment.bytes)).then_some((usage.bytes, segment.number))
    }

    /// What is live in a segment, and where each channel has it.
    fn plan(&self, segment: u32, messages: usize) -> Vec<Planned> {
        let mut plan = Vec::new();
        for (number, topic) in &self.state.topics {
            if plan.len() < messages && topic.index.segments.contains_key(&segment) {
                self.plan_topic(*number, topic, segment, &mut plan);
            }
        }
        plan.truncate(messages);
        plan
    }

    fn plan_topic(&self, number: u32, topic: &Topic, segment: u32, plan: &mut Vec<Planned>) {
        let Some(messages) = topic.index.segments.get(&segment) else { return };
        let channels = topic.channels.iter().filter_map(|it| Some((*it, self.state.channels.get(it)?)));
        let channels: Vec<_> =
            channels.map(|(it, channel)| (it, channel, places_in(channel, segment))).collect();
        for ordinal in 0..messages.len() {
            let slot = Slot { segment, ordinal };
            let places = channels.iter().filter_map(|(channel_number, channel, places)| {
                let backlog = channel.backlog().filter(|backlog| backlog.holds(&topic.index, slot))?;
                let is_unread = backlog.is_unread(&topic.index, slot);
                let known = places.get(&ordinal).copied().unwrap_or(Place::Again { attempts: 0 });
                Some((*channel_number, if is_unread { Place::Unread } else { known }))
            });
            let places: Vec<(u32, Place)> = places.collect();
            let waiting = messages.is_waiting(ordinal);
            if let Some(at) = topic.index.position(slot).filter(|_| waiting || !places.is_empty()) {
                plan.push(Planned { topic: number, name: topic.name.clone(), slot, at, waiting, places });
            }
        }
    }

    /// Moves one message; the bytes that it took.
    fn move_one(&mut self, planned: &Planned) -> Result<u64, NotMoved> {
        let bytes = match self.journal.read(planned.at) {
            Ok(bytes) => bytes,
            Err(ReadError::Io { .. }) => return Err(NotMoved::Stuck),
            Err(error) => {
                self.tell_damage(planned.at, &error);
                self.give_up(planned);
                return Ok(0);
            }
        };
        let new = self.append_moved(planned, &bytes, planned.at)?;
        self.rewriting.moves.push(Move { topic: planned.name.clone(), old: planned.at, new });
        self.counters.messages_moved += 1;
        if self.settles_due_ms.is_none() {
            self.settles_due_ms = Some(self.clock.now_ms() + SETTLES_SYNC_MS);
            self.driver.notify_one();
        }
        Ok(bytes.len() as u64)
    }

    /// `old` is what the record says that it moved from; the state has it where it was planned from.
    fn append_moved(
        &mut self,
        planned: &Planned,
        bytes: &Bytes,
        old: Position,
    ) -> Result<Position, NotMoved> {
        let ((id, timestamp_ns), body) = message_of(bytes).ok_or(NotMoved::Stuck)?;
        let topic = self.state.topics.get(&planned.topic).ok_or(NotMoved::Stuck)?;
        let defer_ms = topic.delays.get(&planned.slot).copied().unwrap_or(0);
        let message = MessageRecord { topic: planned.name.as_str(), id, timestamp_ns, defer_ms };
        let places = planned.places.clone();
        let mut record = MovedRecord { message, old, waiting: planned.waiting, places };
        let mut head = Vec::new();
        record.encode(&mut head);
        let new = self.append(&[&head, &body], Class::Reserved).map_err(|refused| match refused {
            Refused::TooLarge { .. } => NotMoved::Stuck,
            _ => NotMoved::Now,
        })?;
        record.old = planned.at;
        self.state.moved(new, &record, body.len(), planned.topic);
        Ok(new)
    }

    /// A message that is lost to damage: nobody waits for it any more.
    fn give_up(&mut self, planned: &Planned) {
        self.counters.messages_damaged += 1;
        for (number, place) in &planned.places {
            let Some(channel) = self.state.channels.get_mut(number) else { continue };
            let Some(topic) = self.state.topics.get(&planned.topic) else { continue };
            let Some(backlog) = channel.backlog_mut() else { continue };
            match place {
                Place::Unread => backlog.drop_unread(planned.slot),
                Place::Again { .. } => backlog.drop_again(&topic.index, planned.slot),
                Place::Deferred { due_ms, .. } => backlog.drop_deferred(planned.slot, *due_ms),
                // Whoever has it has its body.
                Place::InFlight { .. } => continue,
            }
            let settle = Settle { position: planned.at, source: Source::Again, ending: Ending::Finished };
            self.settles.push(*number, settle);
        }
        if planned.waiting
            && let Some(topic) = self.state.topics.get_mut(&planned.topic)
            && let Some(messages) = topic.index.segments.get_mut(&planned.slot.segment)
        {
            messages.placed.set(planned.slot.ordinal);
            topic.index.waiting -= 1;
        }
        self.state.settle_life(planned.topic, planned.slot);
        self.settled();
    }

    /// Makes second copies that were lost again. `false`: not all, no sync may count before.
    pub(super) fn redo_moves(&mut self) -> bool {
        while let Some(lost) = self.rewriting.lost.pop() {
            if !self.redo_move(&lost) {
                self.rewriting.lost.push(lost);
                return false;
            }
        }
        true
    }

    fn redo_move(&mut self, lost: &Move) -> bool {
        let Some(number) = self.state.names.get(&lost.topic).copied() else { return true };
        let planned = {
            let topic = &self.state.topics[&number];
            let Some(slot) = topic.index.find(lost.new) else { return true };
            let mut plan = Vec::new();
            self.plan_topic(number, topic, slot.segment, &mut plan);
            plan.into_iter().find(|planned| planned.slot == slot)
        };
        // Nobody waits for it any more.
        let Some(planned) = planned else { return true };
        let bytes = match self.journal.read(lost.old) {
            Ok(bytes) => bytes,
            Err(ReadError::Io { .. }) => return false,
            Err(error) => {
                self.tell_damage(lost.old, &error);
                self.give_up(&planned);
                return true;
            }
        };
        // A start may find the lost copy or not. So it is finished, which is passed over where it is not there, and it is
        // the first copy that moves: else one of the two would stay beside the new one.
        for (channel, place) in &planned.places {
            let source = match place {
                Place::Unread => Source::Unread,
                Place::Again { .. } => Source::Again,
                Place::Deferred { .. } => Source::Deferred,
                Place::InFlight { source, .. } => *source,
            };
            self.settles.push(*channel, Settle { position: lost.new, source, ending: Ending::Finished });
        }
        self.append_settles();
        let Ok(new) = self.append_moved(&planned, &bytes, lost.old) else { return false };
        self.rewriting.moves.push(Move { topic: lost.topic.clone(), old: lost.old, new });
        true
    }

    /// Segments in which nothing is live.
    pub(super) fn dead_segments(&self) -> Vec<u32> {
        let dead = self.journal.segments().filter(|it| it.sealed && !it.retired);
        let dead = dead.filter(|it| !self.state.usage.contains_key(&it.number));
        dead.map(|it| it.number).collect()
    }

    /// Dead segments may go.
    pub(super) fn retire(&mut self, dead: Vec<u32>) {
        for number in dead {
            match self.journal.retire(number) {
                Ok(()) => self.counters.segments_retired += 1,
                Err(error) => tracing::warn!(%error, "a segment could not be retired"),
            }
        }
    }
}

/// Where a channel has the messages of a segment, but for those that it never handed out.
fn places_in(channel: &Channel, segment: u32) -> HashMap<u32, Place> {
    let mut places = HashMap::new();
    if let Some(backlog) = channel.backlog() {
        backlog.each_again(segment, |ordinal, attempts| {
            places.insert(ordinal, Place::Again { attempts });
        });
        backlog.each_deferred(segment, |ordinal, attempts, due_ms| {
            places.insert(ordinal, Place::Deferred { attempts, due_ms });
        });
    }
    for in_flight in channel.in_flight.values() {
        if let Hold::Log(slot) = in_flight.hold
            && slot.segment == segment
        {
            let (attempts, source) = (in_flight.attempts, in_flight.source);
            places.insert(slot.ordinal, Place::InFlight { attempts, source });
        }
    }
    places
}
