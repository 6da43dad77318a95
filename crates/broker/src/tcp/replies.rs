//! The answers that a client waits for, in the order of its commands.
//!
//! A publish is answered once its commit is granted; whatever is commanded behind it is executed meanwhile, and answered behind it. So a
//! client may send as many publishes as it likes without waiting, and one sync answers them all. Messages and heartbeats answer nothing and
//! do not queue here.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use wire::frame::{OK, write_response};
use wire::{CommandName, ErrorCode};

use super::refusal::Refusal;
use crate::queue::{Commit, Queue};

#[derive(Default)]
pub(super) struct Replies {
    waiting: VecDeque<Reply>,
    /// Of the publishes that wait.
    bytes: u64,
}

enum Reply {
    /// OK, once the commit is granted.
    Publish { commit: Commit, command: CommandName, bytes: u64 },
    /// A whole frame, which only waits for its turn.
    Frame(Vec<u8>),
}

impl Replies {
    /// How many wait, and for how many bytes of publishes.
    pub(super) fn waiting(&self) -> (usize, u64) {
        (self.waiting.len(), self.bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A publish of `bytes` was taken.
    pub(super) fn publish(&mut self, commit: Commit, command: CommandName, bytes: u64) {
        self.bytes += bytes;
        self.waiting.push_back(Reply::Publish { commit, command, bytes });
    }

    /// Appends what `write` writes to `out`, or has it wait for its turn.
    pub(super) fn frame(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        if self.waiting.is_empty() {
            return write(out);
        }
        let mut frame = Vec::new();
        write(&mut frame);
        self.waiting.push_back(Reply::Frame(frame));
    }

    /// Moves what is known by now to `out`. Ready when nothing waits any more.
    ///
    /// # Errors
    /// When a publish was not stored, which ends the connection: whatever was commanded behind it is not answered.
    pub(super) fn poll(
        &mut self,
        queue: &Queue,
        out: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Refusal>> {
        while let Some(reply) = self.waiting.pop_front() {
            match reply {
                Reply::Frame(frame) => out.extend_from_slice(&frame),
                Reply::Publish { commit, command, bytes } => match queue.poll_committed(commit, cx) {
                    Poll::Pending => {
                        self.waiting.push_front(Reply::Publish { commit, command, bytes });
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(())) => {
                        self.bytes -= bytes;
                        write_response(out, OK);
                    }
                    Poll::Ready(Err(reason)) => {
                        self.waiting.clear();
                        self.bytes = 0;
                        return Poll::Ready(Err(publish_failed(command, &reason)));
                    }
                },
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// nsqd's words for a publish that was not stored.
pub(super) fn publish_failed(command: CommandName, reason: &crate::queue::Refused) -> Refusal {
    let code = match command {
        CommandName::Mpub => ErrorCode::MpubFailed,
        CommandName::Dpub => ErrorCode::DpubFailed,
        _ => ErrorCode::PubFailed,
    };
    Refusal::new(code, format!("{command} failed {reason}"))
}
