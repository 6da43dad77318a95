//! The state machine of one request: the write and the read of one connection, polled by one future.

use std::task::{Context, Poll, ready};

use super::rest::{AnswerEnd, Rest};
use super::sending::Sending;
use super::{Ended, Fate, Job, Resend};
use crate::close_reason::CloseReason;
use crate::codec::{AnswerHead, BadAnswer, HeadRead, HeadReader};
use crate::connection::Connection;
use crate::local::Local;
use crate::outcome::{Cause, Outcome, Phase, Verdict};
use crate::transport::{cause, close_reason};

/// One request on one connection.
pub(super) struct Exchange<'a> {
    connection: &'a mut Connection,
    job: &'a Job<'a>,
    local: &'a Local,
    sending: Sending<'a>,
    sent: Sent,
    /// What the kernel had taken on this connection before.
    taken_before: u64,
    reader: HeadReader,
    /// The start of a head that did not come in one piece; a buffer of the thread's while it is needed.
    unread: Vec<u8>,
    early: Option<Early>,
}

/// How far the request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// The kernel took not a byte.
    Nothing,
    Some,
    All,
    /// It took some and takes no more: the peer is gone, but its answer may still lie in our kernel.
    CutOff,
}

/// An answer that comes before its request is out may be this many times as long as that request, an echo in some
/// encoding, before it is taken for one without an end.
const EARLY_ANSWER_FACTOR: u64 = 4;

/// A 2xx that came while the request was still being written. The write goes on, and its end decides.
struct Early {
    head: AnswerHead,
    rest: Rest,
    end: Option<AnswerEnd>,
    /// Bytes that were read of it since.
    read: u64,
    bytes_max: u64,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(connection: &'a mut Connection, job: &'a Job<'a>, local: &'a Local) -> Exchange<'a> {
        let taken_before = connection.transport.socket().bytes_taken();
        Exchange {
            connection,
            job,
            local,
            sending: Sending::new(job.head, job.body),
            sent: Sent::Nothing,
            taken_before,
            reader: HeadReader::new(job.limits),
            unread: Vec::new(),
            early: None,
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        loop {
            let more_to_write = match self.poll_write(cx) {
                Ok(more_to_write) => more_to_write,
                Err(ended) => return Poll::Ready(*ended),
            };
            if let Poll::Ready(ended) = self.poll_answer(cx) {
                return Poll::Ready(ended);
            }
            if !more_to_write {
                break;
            }
        }
        ready!(self.connection.poll_deadline(cx, self.job.deadline));
        let phase = if self.sent == Sent::All { Phase::Head } else { Phase::Write };
        Poll::Ready(self.unanswered(Cause::Deadline(phase), CloseReason::Deadline))
    }

    /// Writes once, where there is something to write. Whether there is more that can be written at once.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<bool, Box<Ended>> {
        if matches!(self.sent, Sent::All | Sent::CutOff) {
            return Ok(false);
        }
        let written = self.sending.poll_write(&mut self.connection.transport, cx);
        if self.sent == Sent::Nothing && self.bytes_taken() {
            self.sent = Sent::Some;
            self.connection.record_request();
        }
        match written {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(false)) => Ok(true),
            Poll::Ready(Ok(true)) => {
                self.sent = Sent::All;
                Ok(false)
            }
            Poll::Ready(Err(error)) => {
                let reason = close_reason(&error);
                // What the peer sent before it broke off may explain it: read on.
                if self.sent == Sent::Some && reason == CloseReason::PeerReset {
                    self.sent = Sent::CutOff;
                    return Ok(false);
                }
                Err(Box::new(self.broke_off(reason, cause(reason, Some(&error)))))
            }
        }
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        let local = self.local;
        let scratch = &mut *local.scratch();
        loop {
            if let Some(ended) = self.conclude_early() {
                return Poll::Ready(ended);
            }
            let len = match ready!(self.connection.transport.poll_read(cx, scratch)) {
                Ok(0) => {
                    let reason = self.connection.transport.end_of_stream();
                    return Poll::Ready(self.broke_off(reason, cause(reason, None)));
                }
                Ok(len) => len,
                Err(error) => {
                    let reason = close_reason(&error);
                    return Poll::Ready(self.broke_off(reason, cause(reason, Some(&error))));
                }
            };
            if let Some(ended) = self.take(&scratch[..len]) {
                return Poll::Ready(ended);
            }
        }
    }

    /// Takes what was read.
    fn take(&mut self, bytes: &[u8]) -> Option<Ended> {
        if let Some(early) = &mut self.early {
            early.take(bytes);
            let flooded = early.read > early.bytes_max;
            return flooded
                .then(|| Ended::closed(Outcome::answered_before_body(&early.head), CloseReason::Undrained));
        }
        match self.read_head(bytes) {
            Ok(None) => None,
            Ok(Some((head, rest, end))) => self.headed(head, rest, end),
            Err(bad) => Some(self.unanswered(bad.into(), CloseReason::BadAnswer)),
        }
    }

    /// Looks for the end of the head, in place when it comes in one piece.
    fn read_head(
        &mut self,
        bytes: &[u8],
    ) -> Result<Option<(AnswerHead, Rest, Option<AnswerEnd>)>, BadAnswer> {
        if !self.unread.is_empty() {
            self.unread.extend_from_slice(bytes);
        }
        let unread = if self.unread.is_empty() { bytes } else { &self.unread };
        match self.reader.read(unread)? {
            HeadRead::Complete { head, consumed } => {
                let mut rest = Rest::new(&head, self.job.drain_bytes_max);
                let end = rest.take(&unread[consumed..]);
                Ok(Some((head, rest, end)))
            }
            HeadRead::Incomplete { consumed } => {
                if self.unread.is_empty() {
                    self.unread = self.local.take_buffer();
                    self.unread.extend_from_slice(&bytes[consumed..]);
                } else {
                    self.unread.drain(..consumed);
                }
                Ok(None)
            }
        }
    }

    /// A complete, valid, final head came: it decides the outcome, unless it is a 2xx and the request is not out yet.
    fn headed(&mut self, head: AnswerHead, rest: Rest, end: Option<AnswerEnd>) -> Option<Ended> {
        let was_used = std::mem::replace(&mut self.connection.has_answered, true);
        let delivered = Verdict::of_status(head.status) == Verdict::Delivered;
        match self.sent {
            // It answers nothing of ours.
            Sent::Nothing => return Some(self.unsent(Cause::SpokeFirst, CloseReason::StrayBytes)),
            // A server's way to say that it was about to close the idle connection.
            _ if was_used && head.status == 408 && head.close.is_some() => {
                let fate = Fate::Closed(CloseReason::AnswerClose);
                return Some(Ended { outcome: Outcome::answered(&head), fate, resend: Some(Resend::Stale) });
            }
            Sent::All => return Some(Ended::answered(&head, rest, end)),
            Sent::Some if delivered && head.close.is_none() => {
                let bytes_max = self.job.drain_bytes_max + EARLY_ANSWER_FACTOR * self.job.len();
                self.early = Some(Early { head, rest, end, read: 0, bytes_max });
                return None;
            }
            Sent::Some | Sent::CutOff => {}
        }
        let cut_off = self.sent == Sent::CutOff;
        let reason = if cut_off { CloseReason::PeerReset } else { CloseReason::AnsweredBeforeBody };
        let outcome = if delivered { Outcome::answered_before_body(&head) } else { Outcome::answered(&head) };
        Some(Ended::closed(outcome, reason))
    }

    /// Once the write has ended, well or not, an answer that came before that counts.
    fn conclude_early(&mut self) -> Option<Ended> {
        if !matches!(self.sent, Sent::All | Sent::CutOff) {
            return None;
        }
        let Early { head, rest, end, .. } = self.early.take()?;
        if self.sent == Sent::All {
            Some(Ended::answered(&head, rest, end))
        } else {
            Some(Ended::closed(Outcome::answered_before_body(&head), CloseReason::PeerReset))
        }
    }

    /// The peer ended the connection.
    fn broke_off(&mut self, reason: CloseReason, cause: Cause) -> Ended {
        if let Some(early) = &self.early {
            return Ended::closed(Outcome::answered_before_body(&early.head), reason);
        }
        if self.sent == Sent::Nothing {
            return self.unsent(cause, reason);
        }
        match self.reader.end_of_stream(&self.unread) {
            Some(cut) if cause == Cause::ClosedBeforeAnswer => self.unanswered(cut.into(), reason),
            Some(_) => self.unanswered(cause, reason),
            None => {
                let mut ended = self.unanswered(cause, reason);
                let stale = self.connection.has_answered && reason.is_end_by_peer();
                ended.resend = stale.then_some(Resend::Stale);
                ended
            }
        }
    }

    fn unsent(&self, cause: Cause, reason: CloseReason) -> Ended {
        Ended { resend: Some(Resend::Unsent), ..self.unanswered(cause, reason) }
    }

    fn unanswered(&self, cause: Cause, reason: CloseReason) -> Ended {
        Ended::closed(Outcome::unanswered(cause, self.bytes_taken()), reason)
    }

    fn bytes_taken(&self) -> bool {
        self.connection.transport.socket().bytes_taken() > self.taken_before
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        self.local.give_buffer_back(std::mem::take(&mut self.unread));
    }
}

impl Early {
    /// The answer is read on while the request is written, or both sides could wait for each other. What is too long
    /// or wrong costs the connection in the end, but not before the write is done.
    fn take(&mut self, bytes: &[u8]) {
        self.read += bytes.len() as u64;
        match self.end {
            None => self.end = self.rest.take(bytes),
            Some(Ok(())) => self.end = Some(self.rest.after_end(bytes)),
            Some(Err(_)) => {}
        }
    }
}
