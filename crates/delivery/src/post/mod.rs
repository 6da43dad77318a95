//! One request on one connection.
//!
//! ```text
//! post ──► Exchange: writes and reads in the same poll ──► Ended { outcome, fate of the connection, resend? }
//!                                                             Idle ─► check-in   Draining ─► Tail   Closed(reason)
//! ```
//!
//! The connection moves in and comes back only when its answer was read to the end: a future that is dropped drops the
//! socket, so there is no way for a late answer to meet another request.

mod exchange;
mod rest;
mod sending;

use std::future::poll_fn;

use bytes::Bytes;
use tokio::time::Instant;

use crate::close_reason::CloseReason;
use crate::codec::{AnswerHead, HeadLimits};
use crate::connection::Connection;
use crate::local::Local;
use crate::outcome::Outcome;
use exchange::Exchange;
pub(crate) use rest::{AnswerEnd, Rest};
pub(crate) use sending::is_worth_copying;

/// A request with its head rendered.
pub(crate) struct Job<'a> {
    pub(crate) head: &'a [u8],
    pub(crate) body: &'a [Bytes],
    pub(crate) deadline: Instant,
    pub(crate) limits: HeadLimits,
    pub(crate) drain_bytes_max: u64,
}

impl Job<'_> {
    /// Bytes of head and body.
    fn len(&self) -> u64 {
        self.head.len() as u64 + self.body.iter().map(|piece| piece.len() as u64).sum::<u64>()
    }
}

/// What became of a request on one connection.
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    pub(crate) fate: Fate,
    /// Whether it may be sent again at once, on another connection.
    pub(crate) resend: Option<Resend>,
}

/// What to do with the connection.
pub(crate) enum Fate {
    /// The answer was read to its end, and it can carry another request.
    Idle,
    /// The rest of the answer is still to come.
    Draining(Rest),
    /// It is over.
    Closed(CloseReason),
}

/// Why a request may be sent again within its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resend {
    /// The kernel took no byte of it.
    Unsent,
    /// A connection that had carried an answer ended before a byte of this one: most likely it was closed while idle,
    /// but the peer may have acted on the request, so only where it can tell a duplicate.
    Stale,
}

impl Ended {
    fn closed(outcome: Outcome, reason: CloseReason) -> Ended {
        Ended { outcome, fate: Fate::Closed(reason), resend: None }
    }

    /// A request that left in full has its answer; `end` says how that ended if it did.
    fn answered(head: &AnswerHead, rest: Rest, end: Option<AnswerEnd>) -> Ended {
        let fate = match end {
            None => Fate::Draining(rest),
            Some(Ok(())) => Fate::Idle,
            Some(Err(reason)) => Fate::Closed(reason),
        };
        Ended { outcome: Outcome::answered(head), fate, resend: None }
    }
}

impl Connection {
    /// Sends the request and reads the head of its answer, or fails. The connection comes back unless it is over.
    pub(crate) async fn post(
        mut self: Box<Self>,
        job: &Job<'_>,
        local: &Local,
    ) -> (Ended, Option<Box<Connection>>) {
        let mut exchange = Exchange::new(&mut self, job, local);
        let ended = poll_fn(|cx| exchange.poll(cx)).await;
        drop(exchange);
        if let Fate::Closed(reason) = ended.fate {
            self.close(reason);
            return (ended, None);
        }
        (ended, Some(self))
    }
}
