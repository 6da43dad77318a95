//! The frames that a connection is still to write.
//!
//! Everything that a turn has to say gathers here and leaves in one write and one flush at its end; nothing waits for more to come. What
//! gathers is bounded by whoever appends: messages stop at the client's output buffer, replies by the commands that wait for them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;
use tokio::time::Instant;
use wire::MessageHead;
use wire::frame::write_message;

/// Above this a buffer that has been emptied is given back: it held a large message.
const KEPT_BYTES: usize = 64 * 1024;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub(super) bytes: Vec<u8>,
    written: usize,
    /// How much of `bytes` is messages.
    messages: usize,
    /// Something was written since the last flush.
    unflushed: bool,
    /// Since when the client has taken nothing.
    stalled: Option<Instant>,
}

impl Outbox {
    /// Bytes that the stream has not taken.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Appends a message.
    pub(super) fn message(&mut self, head: &MessageHead, body: &[u8]) {
        let before = self.bytes.len();
        write_message(&mut self.bytes, head, body);
        self.messages += self.bytes.len() - before;
    }

    /// Bytes of replies that gathered since everything had gone. They grow with what the client sends, so it must not be read further
    /// while they are many.
    pub(super) fn reply_bytes(&self) -> usize {
        self.bytes.len() - self.messages
    }

    /// Since when the client has taken nothing of what waits for it.
    pub(super) fn stalled(&self) -> Option<Instant> {
        self.stalled
    }

    /// Ready when everything is with the transport.
    pub(super) fn poll_flush<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let done = self.poll_write(stream, cx);
        if done.is_pending() {
            self.stalled.get_or_insert_with(Instant::now);
        } else {
            self.stalled = None;
        }
        done
    }

    fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.written < self.bytes.len() {
            let taken = ready!(Pin::new(&mut *stream).poll_write(cx, &self.bytes[self.written..]))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += taken;
            self.unflushed = true;
            self.stalled = None;
        }
        self.bytes.clear();
        self.written = 0;
        self.messages = 0;
        self.bytes.shrink_to(KEPT_BYTES);
        if self.unflushed {
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}
