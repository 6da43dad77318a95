//! Handing messages out, and what becomes of them: finished, requeued, touched, timed out, returned.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use journal::{Position, ReadError};
use wire::{MessageHead, MessageId};

use super::Handed;
use super::admin::message_of;
use super::channel::{Hold, InFlight, Store};
use super::core::Core;
use super::error::SettleError;
use super::settle::{Ending, Settle, Source};
use super::slot::Slot;
use crate::client::count;

/// A message that could not be read because the disk failed is tried again after this long.
const READ_AGAIN_MS: u64 = 1_000;

/// A message about to be handed out.
struct Outgoing {
    hold: Hold,
    source: Source,
    attempts: u16,
    id: u64,
    timestamp_ns: u64,
    body: Bytes,
}

/// What came of looking for a message.
enum Found {
    Message(Outgoing),
    Nothing,
    /// One that cannot be read: look on.
    Unreadable,
}

impl Core {
    /// Hands out the next message of a channel.
    pub(super) fn poll_next(&mut self, number: u32, consumer: u64, cx: &Context<'_>) -> Poll<Option<Handed>> {
        if self.closed.is_some() {
            return Poll::Ready(None);
        }
        let Some(channel) = self.state.channels.get_mut(&number) else { return Poll::Ready(None) };
        // Whoever got one during the last sync could hardly finish it in time.
        let resting = channel.paused || self.stopping;
        let Some(asking) = channel.consumers.get_mut(&consumer) else { return Poll::Ready(None) };
        if resting || !asking.has_room() {
            asking.sleep(cx);
            return Poll::Pending;
        }
        self.write_settles();
        loop {
            match self.find(number) {
                Found::Message(outgoing) => return Poll::Ready(Some(self.hand(number, consumer, outgoing))),
                Found::Unreadable => {}
                Found::Nothing => break,
            }
        }
        let channel = self.state.channels.get_mut(&number);
        if let Some(asking) = channel.and_then(|channel| channel.consumers.get_mut(&consumer)) {
            asking.sleep(cx);
        }
        Poll::Pending
    }

    fn find(&mut self, number: u32) -> Found {
        let durable = self.journal.durable();
        let Some(channel) = self.state.channels.get_mut(&number) else { return Found::Nothing };
        // The clock is read only when there is something that waits for its time.
        let now_ms = if channel.next_due().is_some() { self.clock.now_ms() } else { 0 };
        match &mut channel.store {
            Store::Memory(held) => match held.next(now_ms, durable) {
                Some((message, attempts, source)) => Found::Message(Outgoing {
                    source,
                    attempts,
                    id: message.id,
                    timestamp_ns: message.timestamp_ns,
                    body: message.body.clone(),
                    hold: Hold::Memory(message),
                }),
                None => Found::Nothing,
            },
            Store::Log(backlog) => {
                let Some(topic) = self.state.topics.get(&channel.topic) else { return Found::Nothing };
                let Some(taken) = backlog.next(&topic.index, now_ms, durable) else { return Found::Nothing };
                let hold = Hold::Log(taken.slot);
                match self.read(number, taken.slot, taken.position, taken.source, taken.attempts) {
                    None => Found::Unreadable,
                    Some(((id, timestamp_ns), body)) => {
                        let (source, attempts) = (taken.source, taken.attempts);
                        Found::Message(Outgoing { hold, source, attempts, id, timestamp_ns, body })
                    }
                }
            }
        }
    }

    /// Reads a message. What is damaged or lost is copied aside and finished, or it would be tried for ever; what the
    /// disk does not give now is put off, and given up when it does not come while the disk is well otherwise.
    fn read(
        &mut self,
        number: u32,
        slot: Slot,
        at: Position,
        source: Source,
        attempts: u16,
    ) -> Option<((u64, u64), Bytes)> {
        let error = match self.journal.read(at) {
            Ok(bytes) => {
                self.unread.is_over(at);
                match message_of(&bytes) {
                    Some(message) => return Some(message),
                    None => ReadError::Damaged { at },
                }
            }
            Err(error) => error,
        };
        if self.may_come(at, &error) {
            tracing::warn!(%error, "a message cannot be read now");
            let ending = Ending::Deferred { attempts, due_ms: self.clock.now_ms() + READ_AGAIN_MS };
            self.end_of_log(number, slot, at, source, ending);
        } else {
            self.unread.is_over(at);
            self.counters.messages_damaged += 1;
            self.tell_damage(at, &error);
            self.end_of_log(number, slot, at, source, Ending::Finished);
        }
        None
    }

    /// Whether a message that could not be read is to be tried again.
    fn may_come(&mut self, at: Position, error: &ReadError) -> bool {
        // It may be one that was moved, and is about to be again.
        if self.doubt.is_some() {
            return true;
        }
        // A disk that went away gives nothing, and takes nothing either: that is no reason to give up all it has.
        matches!(error, ReadError::Io { .. })
            && (!self.unread.fails(at, self.clock.now_ms()) || self.journal.health().is_err())
    }

    /// A message is given up: what is left of it is kept for people, and they are told where.
    pub(super) fn tell_damage(&mut self, at: Position, error: &ReadError) {
        match self.journal.set_aside(at) {
            Ok(Some(file)) => {
                tracing::error!(%error, file, "a message cannot be read and is given up; a copy is kept")
            }
            Ok(None) => tracing::error!(%error, "a message cannot be read and is given up; there is no copy"),
            Err(failed) => {
                tracing::error!(%error, %failed, "a message cannot be read and is given up; it could not be copied");
            }
        }
    }

    fn hand(&mut self, number: u32, consumer: u64, outgoing: Outgoing) -> Handed {
        let Outgoing { hold, source, attempts, id, timestamp_ns, body } = outgoing;
        let attempts = attempts.wrapping_add(1);
        let delivered_ms = self.clock.now_ms();
        let channel = self.state.channels.get_mut(&number).expect("the message was just found in it");
        let asking = channel.consumers.get_mut(&consumer).expect("it asks");
        let deadline_ms = delivered_ms + ms(asking.client.msg_timeout.get());
        count(&asking.client.message_count, 1);
        channel.send(id, InFlight { hold, source, attempts, consumer, delivered_ms, deadline_ms });
        let head = MessageHead {
            timestamp_ns: i64::try_from(timestamp_ns).unwrap_or(i64::MAX),
            attempts,
            id: format_id(id),
        };
        Handed { head, body }
    }

    pub(super) fn finish(&mut self, number: u32, consumer: u64, id: MessageId) -> Result<(), SettleError> {
        let in_flight = self.take_owned(number, consumer, id)?;
        if let Some(consumer) = self.consumer(number, consumer) {
            count(&consumer.client.finish_count, 1);
        }
        self.end(number, in_flight, |_| Ending::Finished);
        Ok(())
    }

    pub(super) fn requeue(
        &mut self,
        number: u32,
        consumer: u64,
        id: MessageId,
        delay: Duration,
    ) -> Result<(), SettleError> {
        let in_flight = self.take_owned(number, consumer, id)?;
        if let Some(consumer) = self.consumer(number, consumer) {
            count(&consumer.client.requeue_count, 1);
        }
        if let Some(channel) = self.state.channels.get_mut(&number) {
            channel.counts.requeues += 1;
        }
        let delay_ms = ms(delay.min(self.settings.max_req_timeout));
        let due_ms = self.clock.now_ms() + delay_ms;
        self.end(number, in_flight, |attempts| match delay_ms {
            0 => Ending::Ready { attempts },
            _ => Ending::Deferred { attempts, due_ms },
        });
        Ok(())
    }

    pub(super) fn touch(&mut self, number: u32, consumer: u64, id: MessageId) -> Result<(), SettleError> {
        let now_ms = self.clock.now_ms();
        let ceiling_ms = ms(self.settings.max_msg_timeout);
        let channel = self.state.channels.get_mut(&number).ok_or(SettleError::NotInFlight)?;
        let id = parse_id(id).ok_or(SettleError::NotInFlight)?;
        let in_flight = channel.in_flight.get_mut(&id).ok_or(SettleError::NotInFlight)?;
        if in_flight.consumer != consumer {
            return Err(SettleError::NotOwner);
        }
        let asking = channel.consumers.get(&consumer).ok_or(SettleError::NotOwner)?;
        let timeout_ms = ms(asking.client.msg_timeout.get());
        in_flight.deadline_ms = (now_ms + timeout_ms).min(in_flight.delivered_ms + ceiling_ms);
        channel.earliest_ms = channel.earliest_ms.min(in_flight.deadline_ms);
        Ok(())
    }

    fn consumer(&self, number: u32, consumer: u64) -> Option<&super::channel::Consumer> {
        self.state.channels.get(&number)?.consumers.get(&consumer)
    }

    fn take_owned(&mut self, number: u32, consumer: u64, id: MessageId) -> Result<InFlight, SettleError> {
        let channel = self.state.channels.get_mut(&number).ok_or(SettleError::NotInFlight)?;
        let id = parse_id(id).ok_or(SettleError::NotInFlight)?;
        match channel.in_flight.get(&id) {
            None => Err(SettleError::NotInFlight),
            Some(in_flight) if in_flight.consumer != consumer => Err(SettleError::NotOwner),
            Some(_) => channel.take_in_flight(id).ok_or(SettleError::NotInFlight),
        }
    }

    /// A delivery ended. The message is the channel's again, or nobody's.
    fn end(&mut self, number: u32, in_flight: InFlight, ending: impl FnOnce(u16) -> Ending) {
        let InFlight { hold, source, attempts, .. } = in_flight;
        let ending = ending(attempts);
        match hold {
            Hold::Log(slot) => {
                let position = self.position(number, slot);
                position.into_iter().for_each(|at| self.end_of_log(number, slot, at, source, ending));
            }
            Hold::Memory(message) => {
                let Some(channel) = self.state.channels.get_mut(&number) else { return };
                let Store::Memory(held) = &mut channel.store else { return };
                match ending {
                    Ending::Finished => {}
                    Ending::Ready { attempts } => held.ready_again(message, attempts),
                    Ending::Deferred { attempts, due_ms } => held.defer(message, attempts, due_ms),
                }
            }
        }
        if ending != Ending::Finished
            && let Some(channel) = self.state.channels.get_mut(&number)
        {
            channel.wake();
        }
    }

    fn position(&self, number: u32, slot: Slot) -> Option<Position> {
        let topic = self.state.channels.get(&number)?.topic;
        self.state.topics.get(&topic)?.index.position(slot)
    }

    /// The same of a message of the log: state and log are told.
    fn end_of_log(&mut self, number: u32, slot: Slot, position: Position, source: Source, ending: Ending) {
        let Some(channel) = self.state.channels.get_mut(&number) else { return };
        let number_of_topic = channel.topic;
        let Some(topic) = self.state.topics.get(&number_of_topic) else { return };
        let Some(backlog) = channel.backlog_mut().filter(|backlog| backlog.holds(&topic.index, slot)) else {
            return;
        };
        backlog.end(slot, ending);
        self.settles.push(number, Settle { position, source, ending });
        if ending == Ending::Finished {
            self.state.settle_life(number_of_topic, slot);
        }
        self.settled();
    }

    /// Everything in flight to a consumer that went is ready again, in the log's order.
    pub(super) fn return_all(&mut self, number: u32, consumer: u64) {
        let Some(channel) = self.state.channels.get(&number) else { return };
        let owned = channel.in_flight.iter().filter(|(_, out)| out.consumer == consumer);
        let mut owned: Vec<(Option<Slot>, u64)> = owned.map(|(id, out)| (slot_of(out), *id)).collect();
        owned.sort_unstable();
        for (_, id) in owned {
            self.give_back(number, id);
        }
    }

    fn give_back(&mut self, number: u32, id: u64) {
        let channel = self.state.channels.get_mut(&number);
        if let Some(in_flight) = channel.and_then(|channel| channel.take_in_flight(id)) {
            self.end(number, in_flight, |attempts| Ending::Ready { attempts });
        }
    }

    /// Whose time is over is ready again; consumers are woken for whose time has come.
    pub(super) fn pass_time(&mut self) {
        let now_ms = self.clock.now_ms();
        let numbers: Vec<u32> = self.state.channels.keys().copied().collect();
        for number in numbers {
            let Some(channel) = self.state.channels.get_mut(&number) else { continue };
            if channel.next_due().is_some_and(|due_ms| due_ms <= now_ms) {
                channel.wake();
            }
            let over = channel.timed_out(now_ms);
            channel.counts.timeouts += over.len() as u64;
            for id in over {
                self.give_back(number, id);
            }
        }
    }
}

fn slot_of(in_flight: &InFlight) -> Option<Slot> {
    match in_flight.hold {
        Hold::Log(slot) => Some(slot),
        Hold::Memory(_) => None,
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 4)
}

/// An id as nsqd writes them: 16 hex digits.
pub(super) fn format_id(id: u64) -> MessageId {
    let mut text = [0; MessageId::LEN];
    for (at, digit) in text.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(id >> (60 - 4 * at) & 0xf) as usize];
    }
    MessageId(text)
}

fn parse_id(id: MessageId) -> Option<u64> {
    id.0.iter().try_fold(0, |value: u64, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_sixteen_digits_both_ways() {
        for id in [0, 1, 0x18a4_199d_98e6_9000, u64::MAX] {
            assert_eq!(format_id(id).to_string(), format!("{id:016x}"));
            assert_eq!(parse_id(format_id(id)), Some(id));
        }
        assert_eq!(parse_id(MessageId(*b"18A4199d98e69000")), None);
    }
}
