//! The messages that a durable channel waits for, none of them in memory: an unread part, those to be handed out
//! again, and those whose time has not come.
//!
//! The three parts take turns, so that neither a stream of fresh messages nor one of failing ones starves the other.
//! What is handed out leaves its part and is the channel's to remember, until it ends here as finished, ready again
//! or deferred.
//!
//! A message that moved to another segment leaves its old entry among those to be handed out again: finding it there
//! would mean reading them all. Such an entry is skipped when its turn comes, since the view says that the channel
//! is done with that slot.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use journal::Position;

use super::fifo::Fifo;
use super::index::Index;
use super::settle::{Ending, Source};
use super::slot::Slot;
use super::varint::{Malformed, Reader, put};
use super::view::View;

/// Skipped entries that are kept for good, at most; beyond them and the others' number, the queue is written anew.
const STALE_MAX: u64 = 4096;

/// A message on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) slot: Slot,
    pub(super) position: Position,
    pub(super) attempts: u16,
    pub(super) source: Source,
}

/// A durable channel's messages.
#[derive(Debug, Clone, Default)]
pub(super) struct Backlog {
    views: BTreeMap<u32, View>,
    /// Nothing before it is unread.
    cursor: Option<Slot>,
    unread: u64,
    again: Fifo,
    stale: u64,
    deferred: BTreeMap<(u64, Slot), u16>,
    /// While the log is replayed: what was out at consumers.
    out: HashMap<Slot, u16>,
    turn: usize,
    /// What comes back goes behind the others: so many unread ones before its turn comes.
    unread_first: u64,
}

const TURNS: [Source; 3] = [Source::Deferred, Source::Unread, Source::Again];

impl Backlog {
    /// Messages ready to be handed out, but for those whose time has come.
    pub(super) fn ready(&self) -> u64 {
        self.unread + self.again.len().saturating_sub(self.stale)
    }

    /// Deferred messages whose time comes after `now_ms`, and those whose time has come.
    pub(super) fn deferred(&self, now_ms: u64) -> (u64, u64) {
        let due = self.deferred.range(..due_end(now_ms)).count() as u64;
        (self.deferred.len() as u64 - due, due)
    }

    /// When the next deferred message is due.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.deferred.first_key_value().map(|((due_ms, _), _)| *due_ms)
    }

    /// The fan-out gives `count` messages of a segment, those in `from..to` that were not placed there.
    pub(super) fn give(&mut self, segment: u32, from: u32, count: u32) {
        let first = Slot { segment, ordinal: from };
        let view = self.view(first);
        view.pending += count;
        self.unread += u64::from(count);
        self.cursor = Some(self.cursor.map_or(first, |cursor| cursor.min(first)));
    }

    /// One that [`give`](Self::give) gave is not ready before its time.
    pub(super) fn defer_given(&mut self, slot: Slot, due_ms: u64) {
        self.view(slot).taken.set(slot.ordinal);
        self.unread -= 1;
        self.deferred.insert((due_ms, slot), 0);
    }

    fn view(&mut self, slot: Slot) -> &mut View {
        let fresh = || View { from: slot.ordinal, ..View::default() };
        let view = self.views.entry(slot.segment).or_insert_with(fresh);
        view.from = view.from.min(slot.ordinal);
        view
    }

    /// Whether the channel waits for a message.
    pub(super) fn holds(&self, index: &Index, slot: Slot) -> bool {
        let segment = index.segments.get(&slot.segment);
        let view = self.views.get(&slot.segment);
        view.zip(segment).is_some_and(|(view, segment)| view.holds(segment, slot.ordinal))
    }

    pub(super) fn is_unread(&self, index: &Index, slot: Slot) -> bool {
        let segment = index.segments.get(&slot.segment);
        let view = self.views.get(&slot.segment);
        view.zip(segment).is_some_and(|(view, segment)| view.is_unread(segment, slot.ordinal))
    }

    /// The channel's views, for counting what is live.
    pub(super) fn views(&self) -> &BTreeMap<u32, View> {
        &self.views
    }

    /// Takes the next message that lies before `durable`.
    pub(super) fn next(&mut self, index: &Index, now_ms: u64, durable: Position) -> Option<Taken> {
        // Twice, since those who must wait need not when there is nobody else.
        for step in 0..2 * TURNS.len() {
            let turn = (self.turn + step) % TURNS.len();
            let taken = match TURNS[turn] {
                Source::Again if step < TURNS.len() && self.unread_first > 0 => None,
                Source::Deferred => self.next_deferred(index, now_ms, durable),
                Source::Unread => self.next_unread(index, durable),
                Source::Again => self.next_again(index),
            };
            if taken.is_some() {
                self.turn = turn + 1;
                return taken;
            }
        }
        None
    }

    fn next_unread(&mut self, index: &Index, durable: Position) -> Option<Taken> {
        let slot = self.seek_unread(index)?;
        let position = index.position(slot).filter(|position| *position < durable)?;
        self.take_unread(slot);
        self.unread_first = self.unread_first.saturating_sub(1);
        Some(Taken { slot, position, attempts: 0, source: Source::Unread })
    }

    fn take_unread(&mut self, slot: Slot) {
        self.view(slot).taken.set(slot.ordinal);
        self.unread -= 1;
    }

    /// Moves the cursor to the first unread message.
    fn seek_unread(&mut self, index: &Index) -> Option<Slot> {
        if self.unread == 0 {
            return None;
        }
        let cursor = self.cursor?;
        for (segment, view) in self.views.range(cursor.segment..) {
            let start = if *segment == cursor.segment { cursor.ordinal } else { 0 };
            let found = index.segments.get(segment).and_then(|topic| view.next_unread(topic, start));
            if let Some(ordinal) = found {
                self.cursor = Some(Slot { segment: *segment, ordinal });
                return self.cursor;
            }
        }
        None
    }

    /// What was handed out before was durable then; if it has moved since, its old record still is.
    fn next_again(&mut self, index: &Index) -> Option<Taken> {
        while let Some((slot, attempts)) = self.again.peek() {
            if !self.holds(index, slot) {
                self.again.pop();
                self.stale = self.stale.saturating_sub(1);
                continue;
            }
            let position = index.position(slot)?;
            self.again.pop();
            return Some(Taken { slot, position, attempts, source: Source::Again });
        }
        None
    }

    fn next_deferred(&mut self, index: &Index, now_ms: u64, durable: Position) -> Option<Taken> {
        while let Some((&(due_ms, slot), &attempts)) = self.deferred.first_key_value() {
            if due_ms > now_ms {
                return None;
            }
            if self.holds(index, slot) {
                // One that has moved here is durable where it was.
                let is_sure = |at: &Position| *at < durable || index.was_moved(slot);
                let position = index.position(slot).filter(is_sure)?;
                self.deferred.pop_first();
                return Some(Taken { slot, position, attempts, source: Source::Deferred });
            }
            self.deferred.pop_first();
        }
        None
    }

    /// The channel is done with a message that was handed out.
    pub(super) fn finish(&mut self, slot: Slot) {
        let Some(view) = self.views.get_mut(&slot.segment) else { return };
        view.taken.set(slot.ordinal);
        if view.done.set(slot.ordinal) {
            view.pending = view.pending.saturating_sub(1);
        }
        if view.pending == 0 {
            self.views.remove(&slot.segment);
        }
    }

    /// A message that was handed out is ready again, behind the others.
    pub(super) fn ready_again(&mut self, slot: Slot, attempts: u16) {
        if self.again.len() == 0 {
            self.unread_first = self.unread;
        }
        self.again.push(slot, attempts);
    }

    /// A message that was handed out is not ready before its time.
    pub(super) fn defer(&mut self, slot: Slot, attempts: u16, due_ms: u64) {
        self.deferred.insert((due_ms, slot), attempts);
    }

    /// A delivery ended.
    pub(super) fn end(&mut self, slot: Slot, ending: Ending) {
        match ending {
            Ending::Finished => self.finish(slot),
            Ending::Ready { attempts } => self.ready_again(slot, attempts),
            Ending::Deferred { attempts, due_ms } => self.defer(slot, attempts, due_ms),
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Moving.
impl Backlog {
    /// Calls `visit` with each message of a segment that is to be handed out again: ordinal and attempts.
    pub(super) fn each_again(&self, segment: u32, visit: impl FnMut(u32, u16)) {
        self.again.each_of(segment, visit);
    }

    /// The same of those that are deferred: ordinal, attempts, due.
    pub(super) fn each_deferred(&self, segment: u32, mut visit: impl FnMut(u32, u16, u64)) {
        let of_segment = self.deferred.iter().filter(|((_, slot), _)| slot.segment == segment);
        of_segment.for_each(|((due_ms, slot), attempts)| visit(slot.ordinal, *attempts, *due_ms));
    }

    /// An unread message moves away.
    pub(super) fn drop_unread(&mut self, slot: Slot) {
        self.take_unread(slot);
        self.finish(slot);
    }

    /// A message that is to be handed out again moves away; its entry stays behind and is skipped.
    ///
    /// While the log is replayed it may be one that was out: an earlier start made it ready again, which no record says.
    pub(super) fn drop_again(&mut self, index: &Index, slot: Slot) {
        self.finish(slot);
        if self.out.remove(&slot).is_some() {
            return;
        }
        self.stale += 1;
        if self.stale > STALE_MAX + self.again.len() / 2 {
            let mut again = Fifo::default();
            let old = std::mem::take(&mut self.again);
            old.each(|slot, attempts| {
                if self.holds(index, slot) {
                    again.push(slot, attempts);
                }
            });
            (self.again, self.stale) = (again, 0);
        }
    }

    /// Whether a message is deferred until then.
    pub(super) fn is_deferred(&self, slot: Slot, due_ms: u64) -> bool {
        self.deferred.contains_key(&(due_ms, slot))
    }

    /// A deferred message moves away.
    pub(super) fn drop_deferred(&mut self, slot: Slot, due_ms: u64) {
        self.deferred.remove(&(due_ms, slot));
        self.finish(slot);
    }

    /// Messages whose records are lost are no more.
    pub(super) fn forget(&mut self, index: &Index, lost: &BTreeSet<Slot>) {
        self.deferred.retain(|(_, slot), _| !lost.contains(slot));
        for slot in lost.iter().copied() {
            if self.is_unread(index, slot) {
                self.drop_unread(slot);
            } else if self.holds(index, slot) {
                self.finish(slot);
            }
        }
    }

    /// A message arrives in a new segment, taken: whoever calls puts it where it belongs.
    pub(super) fn place(&mut self, slot: Slot) {
        let view = self.view(slot);
        view.pending += 1;
        view.taken.set(slot.ordinal);
    }
}

/// Replaying: deliveries are not logged, so whoever was settled is taken out when that is read.
impl Backlog {
    /// Takes a message out of the part it was in; its attempts before. What came before it in that part was out too.
    pub(super) fn take_out(&mut self, index: &Index, slot: Slot, source: Source) -> Option<u16> {
        if let Some(attempts) = self.out.remove(&slot) {
            return Some(attempts);
        }
        if self.is_unread(index, slot) {
            self.take_unread(slot);
            return Some(0);
        }
        let found = match source {
            Source::Deferred => self.drain_deferred(index, slot).or_else(|| self.drain_again(index, slot)),
            _ => self.drain_again(index, slot).or_else(|| self.drain_deferred(index, slot)),
        };
        self.out.remove(&slot);
        found
    }

    /// A message was out when the checkpoint was written, or was moved while it was out.
    pub(super) fn put_out(&mut self, slot: Slot, attempts: u16) {
        self.out.insert(slot, attempts);
    }

    fn drain_again(&mut self, index: &Index, wanted: Slot) -> Option<u16> {
        while let Some((slot, attempts)) = self.again.pop() {
            if !self.holds(index, slot) {
                self.stale = self.stale.saturating_sub(1);
            } else if slot == wanted {
                return Some(attempts);
            } else {
                self.out.insert(slot, attempts);
            }
        }
        None
    }

    fn drain_deferred(&mut self, index: &Index, wanted: Slot) -> Option<u16> {
        while let Some(((_, slot), attempts)) = self.deferred.pop_first() {
            if slot == wanted {
                return Some(attempts);
            }
            if self.holds(index, slot) {
                self.out.insert(slot, attempts);
            }
        }
        None
    }

    /// The log is at its end: what was out is ready, before the others.
    pub(super) fn bring_back(&mut self, index: &Index) {
        self.unread_first = 0;
        let mut out: Vec<_> = std::mem::take(&mut self.out).into_iter().collect();
        out.retain(|(slot, _)| self.holds(index, *slot));
        out.sort_unstable_by_key(|(slot, _)| std::cmp::Reverse(*slot));
        out.into_iter().for_each(|(slot, attempts)| self.again.push_front(slot, attempts));
    }
}

/// Checkpoints.
impl Backlog {
    /// Writes it down; `out` is what is at consumers.
    pub(super) fn encode(&self, out: &mut Vec<u8>, in_flight: &[(Slot, u16)]) {
        put(out, self.views.len() as u64);
        for (segment, view) in &self.views {
            put(out, u64::from(*segment));
            view.encode(out);
        }
        put(out, self.unread);
        put(out, self.stale);
        self.again.encode(out);
        put(out, self.deferred.len() as u64);
        let mut before = 0;
        for ((due_ms, slot), attempts) in &self.deferred {
            put(out, due_ms - before);
            encode_slot(out, *slot, *attempts);
            before = *due_ms;
        }
        put(out, in_flight.len() as u64);
        in_flight.iter().for_each(|(slot, attempts)| encode_slot(out, *slot, *attempts));
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut backlog = Self::default();
        for _ in 0..reader.count(5)? {
            let segment = reader.u32()?;
            backlog.views.insert(segment, View::decode(reader)?);
        }
        backlog.unread = reader.u64()?;
        backlog.stale = reader.u64()?;
        backlog.again = Fifo::decode(reader)?;
        let mut due_ms = 0_u64;
        for _ in 0..reader.count(4)? {
            due_ms = due_ms.checked_add(reader.u64()?).ok_or(Malformed)?;
            let (slot, attempts) = decode_slot(reader)?;
            backlog.deferred.insert((due_ms, slot), attempts);
        }
        for _ in 0..reader.count(3)? {
            let (slot, attempts) = decode_slot(reader)?;
            backlog.out.insert(slot, attempts);
        }
        backlog.cursor = Some(Slot { segment: 0, ordinal: 0 });
        Ok(backlog)
    }
}

fn encode_slot(out: &mut Vec<u8>, slot: Slot, attempts: u16) {
    put(out, u64::from(slot.segment));
    put(out, u64::from(slot.ordinal));
    put(out, u64::from(attempts));
}

fn decode_slot(reader: &mut Reader<'_>) -> Result<(Slot, u16), Malformed> {
    let slot = Slot { segment: reader.u32()?, ordinal: reader.u32()? };
    Ok((slot, reader.u16()?))
}

/// Behind everything that is due at `now_ms`.
fn due_end(now_ms: u64) -> (u64, Slot) {
    (now_ms.saturating_add(1), Slot { segment: 0, ordinal: 0 })
}
