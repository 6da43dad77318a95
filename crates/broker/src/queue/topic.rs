//! A topic: its messages, its channels, and whether its messages go to them.

use std::collections::{BTreeMap, VecDeque};

use wire::TopicName;

use super::held::HeldMessage;
use super::index::Index;
use super::slot::Slot;

/// A message of an `#ephemeral` topic that has no channel yet, and DPUB's delay.
pub(super) type HeldWaiting = (HeldMessage, u64);

/// One topic.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: TopicName,
    pub(super) paused: bool,
    /// Whether nsqlookupd's channels are still to come, before which nothing is fanned out.
    pub(super) held: bool,
    /// Its messages in the log.
    pub(super) index: Index,
    /// DPUB's delays, ms, of messages that wait for their fan-out.
    pub(super) delays: BTreeMap<Slot, u64>,
    /// Messages of an `#ephemeral` topic that wait for their fan-out.
    pub(super) waiting: VecDeque<HeldWaiting>,
    /// Its channels' numbers, in the order of their creation.
    pub(super) channels: Vec<u32>,
    /// Live messages: what some channel, or the fan-out, waits for.
    pub(super) live: u64,
    /// About the bytes of their records.
    pub(super) bytes: u64,
    /// Published since the broker started.
    pub(super) published: u64,
    /// Bytes of their bodies.
    pub(super) published_bytes: u64,
}

impl Topic {
    pub(super) fn new(name: TopicName, held: bool) -> Self {
        Self {
            name,
            paused: false,
            held,
            index: Index::default(),
            delays: BTreeMap::new(),
            waiting: VecDeque::new(),
            channels: Vec::new(),
            live: 0,
            bytes: 0,
            published: 0,
            published_bytes: 0,
        }
    }

    /// Whether messages go to the channels.
    pub(super) fn fans_out(&self) -> bool {
        !self.paused && !self.held && !self.channels.is_empty()
    }

    /// Messages that no channel has been given.
    pub(super) fn depth(&self) -> u64 {
        self.index.waiting + self.waiting.len() as u64
    }

    pub(super) fn is_memory(&self) -> bool {
        self.name.is_ephemeral()
    }
}
