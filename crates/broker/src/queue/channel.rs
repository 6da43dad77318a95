//! A channel: the messages that it waits for, those at its consumers, and the consumers.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::task::{Context, Waker};

use wire::ChannelName;

use super::backlog::Backlog;
use super::held::{Held, HeldMessage};
use super::settle::Source;
use super::slot::Slot;
use crate::client::Client;

/// Where a channel's messages are.
#[derive(Debug)]
pub(super) enum Store {
    /// In the log.
    Log(Box<Backlog>),
    /// In memory, for as long as the process.
    Memory(Held),
}

/// What names a message that is in flight.
#[derive(Debug, Clone)]
pub(super) enum Hold {
    /// One of the log.
    Log(Slot),
    /// One held in memory.
    Memory(Rc<HeldMessage>),
}

/// A message at a consumer.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) hold: Hold,
    pub(super) source: Source,
    /// This delivery included.
    pub(super) attempts: u16,
    /// The subscription's number.
    pub(super) consumer: u64,
    pub(super) delivered_ms: u64,
    pub(super) deadline_ms: u64,
}

/// A subscription, as its channel sees it.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) client: Rc<Client>,
    pub(super) ready: u32,
    /// Messages in flight to it. nsqd's count in the client's statistics is the same number.
    pub(super) in_flight: u32,
    pub(super) closing: bool,
    waker: Option<Waker>,
}

impl Consumer {
    pub(super) fn new(client: Rc<Client>) -> Self {
        Self { client, ready: 0, in_flight: 0, closing: false, waker: None }
    }

    /// Whether it may be handed one more.
    pub(super) fn has_room(&self) -> bool {
        !self.closing && self.in_flight < self.ready
    }

    pub(super) fn sleep(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
    }

    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// One message came or left.
    pub(super) fn set_in_flight(&mut self, count: u32) {
        self.in_flight = count;
        self.client.in_flight_count.set(i64::from(count));
    }
}

/// Ids count up, so a multiplication spreads them: they are no key that a stranger chooses.
#[derive(Debug, Clone, Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        let mixed = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 32;
    }
}

/// A map by ids or numbers.
pub(super) type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// Since the broker started.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ChannelCounts {
    pub(super) messages: u64,
    pub(super) requeues: u64,
    pub(super) timeouts: u64,
}

/// One channel.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) name: ChannelName,
    /// Its topic's number.
    pub(super) topic: u32,
    pub(super) paused: bool,
    pub(super) store: Store,
    pub(super) in_flight: IdMap<u64, InFlight>,
    /// No deadline is before it.
    pub(super) earliest_ms: u64,
    pub(super) consumers: BTreeMap<u64, Consumer>,
    pub(super) counts: ChannelCounts,
    /// Whether it is on the list of those that were given something since the last group commit began.
    pub(super) fresh: bool,
    /// The consumer that was woken first last time, so that the next one is this time.
    woken_first: u64,
}

impl Channel {
    pub(super) fn new(name: ChannelName, topic: u32, store: Store) -> Self {
        Self {
            name,
            topic,
            paused: false,
            store,
            in_flight: IdMap::default(),
            earliest_ms: u64::MAX,
            consumers: BTreeMap::new(),
            counts: ChannelCounts::default(),
            fresh: false,
            woken_first: 0,
        }
    }

    /// Its messages, when the log has them.
    pub(super) fn backlog(&self) -> Option<&Backlog> {
        match &self.store {
            Store::Log(backlog) => Some(backlog),
            Store::Memory(_) => None,
        }
    }

    pub(super) fn backlog_mut(&mut self) -> Option<&mut Backlog> {
        match &mut self.store {
            Store::Log(backlog) => Some(backlog),
            Store::Memory(_) => None,
        }
    }

    pub(super) fn is_memory(&self) -> bool {
        matches!(self.store, Store::Memory(_))
    }

    /// Messages that wait for a consumer, and those that wait for their time.
    pub(super) fn depth(&self, now_ms: u64) -> (u64, u64) {
        let (ready, (deferred, due)) = match &self.store {
            Store::Log(backlog) => (backlog.ready(), backlog.deferred(now_ms)),
            Store::Memory(held) => (held.ready(), held.deferred(now_ms)),
        };
        (ready + due, deferred)
    }

    /// When the next deferred message is due.
    pub(super) fn next_due(&self) -> Option<u64> {
        match &self.store {
            Store::Log(backlog) => backlog.next_due(),
            Store::Memory(held) => held.next_due(),
        }
    }

    /// Wakes every consumer that has room. All of them: one that is woken may be busy writing to a slow peer, and
    /// what it does not take must not wait for it. Another one is first each time.
    pub(super) fn wake(&mut self) {
        if self.paused {
            return;
        }
        let first = self.woken_first + 1;
        let first = self.consumers.range(first..).next().or(self.consumers.first_key_value());
        self.woken_first = first.map_or(0, |(number, _)| *number);
        let (before, after): (Vec<_>, Vec<_>) =
            self.consumers.iter_mut().partition(|(number, _)| **number < self.woken_first);
        for (_, consumer) in after.into_iter().chain(before) {
            if consumer.has_room() {
                consumer.wake();
            }
        }
    }

    /// Wakes every consumer, to see that the channel is gone.
    pub(super) fn wake_all(&mut self) {
        self.consumers.values_mut().for_each(Consumer::wake);
    }

    /// A message goes out.
    pub(super) fn send(&mut self, id: u64, in_flight: InFlight) {
        self.earliest_ms = self.earliest_ms.min(in_flight.deadline_ms);
        if let Some(consumer) = self.consumers.get_mut(&in_flight.consumer) {
            consumer.set_in_flight(consumer.in_flight + 1);
        }
        self.in_flight.insert(id, in_flight);
    }

    /// A message is no longer out.
    pub(super) fn take_in_flight(&mut self, id: u64) -> Option<InFlight> {
        let in_flight = self.in_flight.remove(&id)?;
        if let Some(consumer) = self.consumers.get_mut(&in_flight.consumer) {
            consumer.set_in_flight(consumer.in_flight.saturating_sub(1));
        }
        Some(in_flight)
    }

    /// The ids of those whose time is over, soonest first. Reads all that are out, but only when one may be.
    pub(super) fn timed_out(&mut self, now_ms: u64) -> Vec<u64> {
        if self.earliest_ms > now_ms {
            return Vec::new();
        }
        let over = self.in_flight.iter().filter(|(_, out)| out.deadline_ms <= now_ms);
        let mut over: Vec<(u64, u64)> = over.map(|(id, out)| (out.deadline_ms, *id)).collect();
        over.sort_unstable();
        let rest = self.in_flight.values().map(|out| out.deadline_ms).filter(|deadline| *deadline > now_ms);
        self.earliest_ms = rest.min().unwrap_or(u64::MAX);
        over.into_iter().map(|(_, id)| id).collect()
    }

    /// Forgets everything, in flight too.
    pub(super) fn clear(&mut self) {
        match &mut self.store {
            Store::Log(backlog) => backlog.clear(),
            Store::Memory(held) => held.clear(),
        }
        self.in_flight = IdMap::default();
        self.earliest_ms = u64::MAX;
        for consumer in self.consumers.values_mut() {
            consumer.set_in_flight(0);
            consumer.wake();
        }
    }

    /// What is out, for a checkpoint.
    pub(super) fn out(&self) -> Vec<(Slot, u16)> {
        let slots = self.in_flight.values().filter_map(|out| match out.hold {
            Hold::Log(slot) => Some((slot, out.attempts)),
            Hold::Memory(_) => None,
        });
        let mut slots: Vec<_> = slots.collect();
        slots.sort_unstable();
        slots
    }
}
