//! What the endpoint saw, counted at its sockets.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;

use super::request::RequestHead;
use crate::ledger::Ledger;

/// Totals of one endpoint since its start. Read with [`super::Endpoint::counts`].
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Connections accepted.
    pub accepted: u64,
    /// Accepted connections that are still open.
    pub open: u64,
    /// The most that were open at once.
    pub open_max: u64,
    /// TLS handshakes completed in full.
    pub handshakes_full: u64,
    /// TLS handshakes completed by resumption.
    pub handshakes_resumed: u64,
    /// TLS handshakes that failed or were broken off.
    pub handshakes_failed: u64,
    /// Request heads read.
    pub requests: u64,
    /// Request bodies read to their end (an empty one counts).
    pub bodies: u64,
    /// Request bodies that the peer broke off.
    pub bodies_broken: u64,
    /// Answers whose every step was executed.
    pub answers: u64,
    /// Answers that the peer broke off by closing or resetting.
    pub answers_broken: u64,
    /// Requests that this endpoint could not understand.
    pub malformed: u64,
    /// Bytes of a next request that came before this one's answer was complete: pipelining, which a POST must not do.
    pub pipelined: u64,
    /// Requests being worked on now: head read, steps not at their end.
    pub busy: u64,
    /// The most that were busy at once.
    pub busy_max: u64,
    /// Bytes read from sockets, under TLS.
    pub bytes_in: u64,
    /// Bytes written to sockets, under TLS.
    pub bytes_out: u64,
    /// KeyUpdates received from peers.
    pub key_updates_received: u64,
    /// Steps executed, by [`super::Step::name`]: proof that an injected fault fired.
    pub fired: BTreeMap<&'static str, u64>,
}

impl Counts {
    /// How often a step of this name was executed.
    pub fn fired(&self, step: &str) -> u64 {
        self.fired.get(step).copied().unwrap_or(0)
    }

    /// Full and resumed handshakes.
    pub fn handshakes(&self) -> u64 {
        self.handshakes_full + self.handshakes_resumed
    }
}

/// How a connection ended, as the endpoint saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// The peer sent FIN; `close_notify` says whether a TLS close_notify came before it.
    PeerFin {
        /// Always false on a plain connection.
        close_notify: bool,
    },
    /// The peer sent RST.
    PeerReset,
    /// The peer sent a TLS alert other than close_notify, or bytes that are not TLS.
    PeerAlert,
    /// A step closed it, or the endpoint went down.
    Scripted,
    /// The peer sent something that is not a request.
    Malformed,
    /// The TLS handshake failed.
    Handshake,
}

/// One accepted connection.
#[derive(Clone, Debug)]
pub struct ConnectionRecord {
    /// Counted from 0 in the order of accepting.
    pub connection: u64,
    /// The peer's port.
    pub peer_port: u16,
    /// Requests read on it.
    pub requests: u64,
    /// The TLS handshake, once complete.
    pub tls: Option<TlsRecord>,
    /// When it was accepted.
    pub opened: Instant,
    /// When and how it ended.
    pub ended: Option<(Instant, End)>,
}

/// What a TLS handshake agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsRecord {
    /// A resumed session, not a full handshake.
    pub resumed: bool,
    /// `TLSv1_3` or `TLSv1_2`.
    pub version: String,
    /// The host name the client asked for; none for an address.
    pub server_name: Option<String>,
    /// The protocol agreed by ALPN.
    pub alpn: Option<String>,
    /// Whether the client showed a certificate.
    pub client_certificate: bool,
}

/// One request that was read.
#[derive(Clone, Debug)]
pub struct RequestRecord {
    /// Its head, with connection and serial.
    pub head: RequestHead,
    /// Its body, if it was read to its end and kept (see [`super::EndpointOptions::bodies_kept`]).
    pub body: Option<Bytes>,
    /// Bytes of the body read so far.
    pub body_len: u64,
    /// The body was read to its end.
    pub whole: bool,
    /// The status of the answer, once its head was given to the kernel.
    pub status: Option<u16>,
    /// When its head was complete.
    pub arrived: Instant,
    /// When the steps of its answer ended.
    pub answered: Option<Instant>,
}

/// All of an endpoint's books.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) counts: Counts,
    pub(super) ledger: Ledger,
    pub(super) connections: Vec<ConnectionRecord>,
    /// The last requests; older ones make room.
    pub(super) requests: VecDeque<RequestRecord>,
    pub(super) requests_dropped: u64,
}

impl Books {
    /// The record of this request, unless it has made room already.
    pub(super) fn request(&mut self, serial: u64) -> Option<&mut RequestRecord> {
        let at = serial.checked_sub(self.requests_dropped)?;
        self.requests.get_mut(usize::try_from(at).ok()?)
    }
}
