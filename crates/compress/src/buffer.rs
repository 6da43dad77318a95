//! Compressed bytes between a codec and its transport, in either direction.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Compressed bytes that may wait for a flush; beyond it a write first waits for the transport.
pub(super) const OUTGOING_BYTES_MAX: usize = 64 * 1024;

/// Capacity that an emptied buffer keeps. Above it the memory is given back, so that an idle connection holds little.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// Bytes asked of the transport in one read. On the stack, so that a read which finds nothing allocates nothing.
const READ_BYTES: usize = 8 * 1024;

/// Compressed bytes that came and are not decoded yet.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    bytes: Vec<u8>,
    start: usize,
}

impl Incoming {
    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.start += count;
        if self.start == self.bytes.len() {
            self.start = 0;
            empty(&mut self.bytes);
        }
    }

    /// Reads once, behind what is unread. 0 is the end.
    pub(super) fn poll_fill<T: AsyncRead + Unpin>(
        &mut self,
        transport: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut space = [MaybeUninit::uninit(); READ_BYTES];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(Pin::new(transport).poll_read(cx, &mut read))?;
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }
}

/// Compressed bytes that the transport has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Encoders append here; what lies before `sent` is gone already.
    pub(super) bytes: Vec<u8>,
    sent: usize,
}

impl Outgoing {
    /// Ready when there is room to encode more.
    pub(super) fn poll_room<T: AsyncWrite + Unpin>(
        &mut self,
        transport: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.bytes.len() < OUTGOING_BYTES_MAX {
            Poll::Ready(Ok(()))
        } else {
            self.poll_drain(transport, cx)
        }
    }

    /// Ready when the transport has taken all; it may hold them in a buffer of its own.
    pub(super) fn poll_drain<T: AsyncWrite + Unpin>(
        &mut self,
        transport: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.sent < self.bytes.len() {
            let taken = ready!(Pin::new(&mut *transport).poll_write(cx, &self.bytes[self.sent..]))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += taken;
        }
        self.sent = 0;
        empty(&mut self.bytes);
        Poll::Ready(Ok(()))
    }
}

/// Empties `bytes`, and gives its memory back when that is much.
pub(super) fn empty(bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.shrink_to(KEPT_BYTES_MAX);
}
