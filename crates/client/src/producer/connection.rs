//! One connection of a producer: requests out, answers in.
//!
//! A plain state machine that the producer's task polls: nothing here waits for anything else, so answers and heartbeats are read while a write stands.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};
use wire::frame::{FrameHead, FrameKind, HEADER_LEN};
use wire::{Command, FrameError, Response, ServerError};

use super::shared::Shared;
use crate::dial::Dialled;
use crate::stream::Stream;

/// Requests written by one call at most; the kernel's own limit is 1,024.
const WRITE_SLICES: usize = 64;

/// Room for answers to begin with; it grows to the longest frame that is believed, 64 KiB.
const RECEIVED_BYTES: usize = 1024;

/// Why a producer's connection ended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Disconnect {
    /// nsqd closed it.
    #[error("nsqd closed the connection")]
    PeerClosed,
    /// The network failed, or a layer over it: TLS, compression.
    #[error("the connection broke: {0}")]
    Broken(Arc<io::Error>),
    /// nsqd refused a request; it closes the connection behind that.
    #[error("nsqd answered {0}")]
    Refused(ServerError),
    /// nsqd ended it with an error that answers no request.
    #[error("nsqd ended the connection: {0}")]
    Server(ServerError),
    /// What came is no frame.
    #[error(transparent)]
    Frame(FrameError),
    /// An answer that belongs to no request, or a message.
    #[error("nsqd sent an answer that nothing asked for")]
    OutOfOrder,
    /// Nothing came for two heartbeat intervals.
    #[error("nsqd sent nothing for {after:?}")]
    Silent {
        /// Two heartbeat intervals.
        after: Duration,
    },
    /// A request passed its deadline unanswered. Closed by us, so that its answer can never be taken for another's.
    #[error("a request was not answered before its deadline")]
    Deadline,
}

/// A connection and what is under way on it.
pub(super) struct Connection {
    stream: Stream,
    received: Vec<u8>,
    filled: usize,
    /// NOPs to be written between two requests, and how much of them is.
    control: Vec<u8>,
    control_written: usize,
    unflushed: bool,
    /// The stream takes no more bytes, and this is why. What nsqd said before that may still lie there to be read, above all which request it refused.
    write_failed: Option<Arc<io::Error>>,
    silence_max: Duration,
    last_heard: Instant,
    silence: Pin<Box<Sleep>>,
}

impl Connection {
    pub(super) fn new(dialled: Dialled) -> Connection {
        let silence_max = dialled.negotiated.heartbeat_interval * 2;
        Connection {
            stream: dialled.stream,
            received: vec![0; RECEIVED_BYTES],
            filled: 0,
            control: Vec::new(),
            control_written: 0,
            unflushed: false,
            write_failed: None,
            silence_max,
            last_heard: Instant::now(),
            silence: Box::pin(sleep(silence_max)),
        }
    }

    /// Ready when the connection has ended; it is to be dropped then.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, shared: &Shared) -> Poll<Disconnect> {
        if shared.take_sent_expired() {
            return Poll::Ready(Disconnect::Deadline);
        }
        loop {
            if let Poll::Ready(end) = self.poll_answers(cx, shared) {
                return Poll::Ready(match (end, self.write_failed.take()) {
                    (Disconnect::PeerClosed, Some(error)) => Disconnect::Broken(error),
                    (end, _) => end,
                });
            }
            if self.write_failed.is_some() {
                break;
            }
            match self.poll_write(cx, shared) {
                // Once more to the answers: this may have come behind the last of them.
                Poll::Ready(Err(error)) => self.write_failed = Some(Arc::new(error)),
                _ => break,
            }
        }
        self.poll_silence(cx)
    }

    fn poll_answers(&mut self, cx: &mut Context<'_>, shared: &Shared) -> Poll<Disconnect> {
        loop {
            let mut space = ReadBuf::new(&mut self.received[self.filled..]);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut space)) {
                Err(error) => return Poll::Ready(Disconnect::Broken(Arc::new(error))),
                Ok(()) if space.filled().is_empty() => return Poll::Ready(Disconnect::PeerClosed),
                Ok(()) => self.filled += space.filled().len(),
            }
            self.last_heard = Instant::now();
            if let Err(end) = self.take_answers(shared) {
                return Poll::Ready(end);
            }
        }
    }

    /// Takes every whole frame out of what was received, and leaves room for the rest of the next.
    fn take_answers(&mut self, shared: &Shared) -> Result<(), Disconnect> {
        let mut taken = 0;
        while let Some((head, rest)) = self.received[taken..self.filled].split_first_chunk::<HEADER_LEN>() {
            let FrameHead { kind, len } = FrameHead::decode(head).map_err(Disconnect::Frame)?;
            let heartbeat = match (kind, rest.get(..len)) {
                (FrameKind::Message, _) => return Err(Disconnect::OutOfOrder),
                (_, None) => {
                    let frame = HEADER_LEN + len;
                    self.received.resize(self.received.len().max(taken + frame), 0);
                    break;
                }
                (FrameKind::Error, Some(payload)) => {
                    return Err(refused(shared, ServerError::parse(payload)));
                }
                (FrameKind::Response, Some(payload)) => take_response(shared, Response::new(payload))?,
            };
            if heartbeat {
                Command::Nop.write(&mut self.control);
            }
            taken += HEADER_LEN + len;
        }
        self.received.copy_within(taken..self.filled, 0);
        self.filled -= taken;
        Ok(())
    }

    /// Writes until nothing is left or the stream takes no more; then flushes.
    fn poll_write(&mut self, cx: &mut Context<'_>, shared: &Shared) -> Poll<io::Result<()>> {
        let mut requests = shared.requests.borrow_mut();
        loop {
            // A NOP may stand between two requests only; once begun it comes first.
            let control = if requests.between() { &self.control[self.control_written..] } else { &[] };
            let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
            slices[0] = IoSlice::new(control);
            let first = usize::from(!control.is_empty());
            let count = first + requests.slices(&mut slices[first..]);
            if count == 0 {
                break;
            }
            let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..count]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            let of_control = written.min(control.len());
            self.control_written += of_control;
            if self.control_written == self.control.len() {
                self.control.clear();
                self.control_written = 0;
            }
            requests.wrote(written - of_control);
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when nothing was heard for too long. The timer is moved only when it rings, not with each frame.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Disconnect> {
        loop {
            ready!(self.silence.as_mut().poll(cx));
            let end = self.last_heard + self.silence_max;
            if end <= Instant::now() {
                return Poll::Ready(Disconnect::Silent { after: self.silence_max });
            }
            self.silence.as_mut().reset(end);
        }
    }
}

/// True for a heartbeat, which answers no request.
fn take_response(shared: &Shared, response: Response<'_>) -> Result<bool, Disconnect> {
    match response {
        Response::Heartbeat => shared.counters.heartbeats.add(1),
        Response::Ok => shared.requests.borrow_mut().accepted().map_err(|_| Disconnect::OutOfOrder)?,
        Response::CloseWait | Response::Other(_) => return Err(Disconnect::OutOfOrder),
    }
    Ok(response == Response::Heartbeat)
}

/// The end that an error frame is. All that a producer sends is answered by fatal errors only.
fn refused(shared: &Shared, error: ServerError) -> Disconnect {
    if !error.is_fatal() {
        return Disconnect::OutOfOrder;
    }
    let Ok(resent) = shared.requests.borrow_mut().refused(&error) else {
        return Disconnect::Server(error);
    };
    shared.counters.resent.add(resent);
    Disconnect::Refused(error)
}
