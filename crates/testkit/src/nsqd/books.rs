//! What the scripted nsqd saw and what it has in flight.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;

use super::protocol::{self, Command};

/// Totals of one scripted nsqd. Read with [`super::ScriptedNsqd::counts`].
#[derive(Clone, Debug, Default)]
pub struct NsqdCounts {
    /// Connections accepted.
    pub accepted: u64,
    /// Of these, still open.
    pub open: u64,
    /// TLS handshakes that failed.
    pub handshakes_failed: u64,
    /// Commands by name.
    pub commands: BTreeMap<&'static str, u64>,
    /// Messages sent, fed or by an act.
    pub messages: u64,
    /// Messages finished while they were in flight.
    pub finished: u64,
    /// Messages requeued while they were in flight.
    pub requeued: u64,
    /// FIN for a message that was not in flight on that connection.
    pub fin_failed: u64,
    /// REQ for such a message.
    pub req_failed: u64,
    /// TOUCH for such a message.
    pub touch_failed: u64,
    /// Heartbeats sent.
    pub heartbeats: u64,
    /// Acts executed, by [`super::Act::name`]: proof that an injected fault fired.
    pub fired: BTreeMap<&'static str, u64>,
}

impl NsqdCounts {
    /// How often an act of this name was executed.
    pub fn fired(&self, act: &str) -> u64 {
        self.fired.get(act).copied().unwrap_or(0)
    }

    /// How often a command of this name arrived.
    pub fn commands(&self, name: &str) -> u64 {
        self.commands.get(name).copied().unwrap_or(0)
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NsqdEnd {
    /// The client sent FIN; every command before it was executed.
    ClientFin,
    /// The client reset it, or sent bytes that its layers cannot read.
    ClientBroke,
    /// An act, a fatal error, or [`super::ScriptedNsqd::kill_connections`].
    Scripted,
    /// The client did not begin with `  V2`.
    BadMagic,
}

/// One accepted connection.
#[derive(Clone, Debug)]
pub struct NsqdConnectionBook {
    /// Which, from 0 in the order of accepting.
    pub connection: u64,
    /// The client's port.
    pub peer_port: u16,
    /// Every command with its arrival.
    pub commands: Vec<(Instant, Command)>,
    /// The last RDY.
    pub rdy: i64,
    /// Messages in flight on it: their attempts, and the body if it was fed.
    pub in_flight: BTreeMap<String, Held>,
    /// The most that were in flight at once.
    pub in_flight_max: usize,
    /// CLS has arrived.
    pub closing: bool,
    /// When and why it ended.
    pub ended: Option<(Instant, NsqdEnd)>,
}

/// A message in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Counts deliveries, from 1.
    pub attempts: u16,
    /// Present if it was fed, so that it can be delivered again.
    pub body: Option<Bytes>,
}

#[derive(Clone, Debug)]
pub(super) struct Fed {
    pub(super) id: String,
    pub(super) attempts: u16,
    pub(super) body: Bytes,
}

#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) counts: NsqdCounts,
    pub(super) connections: Vec<NsqdConnectionBook>,
    pub(super) queue: VecDeque<Fed>,
    pub(super) fed: u64,
}

impl Books {
    pub(super) fn connection(&mut self, number: u64) -> &mut NsqdConnectionBook {
        &mut self.connections[number as usize]
    }

    pub(super) fn open(&mut self, peer_port: u16) -> u64 {
        let connection = self.counts.accepted;
        self.counts.accepted += 1;
        self.counts.open += 1;
        self.connections.push(NsqdConnectionBook {
            connection,
            peer_port,
            commands: Vec::new(),
            rdy: 0,
            in_flight: BTreeMap::new(),
            in_flight_max: 0,
            closing: false,
            ended: None,
        });
        connection
    }

    /// Closes the book. What was fed and in flight goes back to the queue at once (the real nsqd waits for msg_timeout).
    pub(super) fn close(&mut self, number: u64, end: NsqdEnd) {
        self.counts.open -= 1;
        let book = self.connection(number);
        book.ended = Some((Instant::now(), end));
        for (id, held) in std::mem::take(&mut book.in_flight) {
            self.requeue(id, held);
        }
    }

    pub(super) fn feed(&mut self, bodies: impl IntoIterator<Item = Bytes>) {
        for body in bodies {
            self.fed += 1;
            self.queue.push_back(Fed { id: protocol::id(self.fed), attempts: 0, body });
        }
    }

    /// A message that was fed waits for its next delivery; others are forgotten.
    pub(super) fn requeue(&mut self, id: String, held: Held) {
        if let Some(body) = held.body {
            self.queue.push_back(Fed { id, attempts: held.attempts, body });
        }
    }

    /// Enters a message as in flight.
    pub(super) fn hold(&mut self, number: u64, id: &str, attempts: u16, body: Option<Bytes>) {
        self.counts.messages += 1;
        let book = self.connection(number);
        book.in_flight.insert(id.to_owned(), Held { attempts, body });
        book.in_flight_max = book.in_flight_max.max(book.in_flight.len());
    }

    /// Frames of the fed messages that this connection's RDY lets through now, entered as in flight.
    pub(super) fn deliverable(&mut self, number: u64) -> Vec<u8> {
        let mut frames = Vec::new();
        while (self.connection(number).in_flight.len() as i64) < self.connection(number).rdy {
            let Some(Fed { id, attempts, body }) = self.queue.pop_front() else { break };
            frames.extend(protocol::message_frame(&id, attempts + 1, 1_700_000_000_000_000_000, &body));
            self.hold(number, &id, attempts + 1, Some(body));
        }
        frames
    }
}
