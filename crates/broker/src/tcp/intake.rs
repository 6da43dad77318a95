//! Bytes that came and are not executed yet.
//!
//! Connections read into a buffer that all of them share, since only one reads at a time; what is left of it at a turn's end, part of a
//! command, is kept by the connection itself. So an idle connection holds no buffer.

use std::cell::RefCell;
use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

/// Bytes of one read.
const READ_BYTES: usize = 64 * 1024;

/// Above this a buffer that has been emptied is given away: it held a large body.
const KEPT_BYTES: usize = 4 * 1024;

/// Room made at once for a body that is still to come. Of a longer one its sender must have sent as much before there is more.
const ROOM_BYTES_MAX: usize = 1 << 20;

thread_local! {
    /// Taken out while it is in use.
    static SHARED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// What one connection has given away, for the next that needs much: a client that sends large bodies has each in the same memory,
    /// which the kernel need not clear anew.
    static SPARE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

#[derive(Debug, Default)]
pub(super) struct Intake {
    bytes: Vec<u8>,
    /// How many bytes there must be before another look at them makes sense.
    need: usize,
    ended: bool,
}

impl Intake {
    /// Whether commands may stand here that were not looked at.
    pub(super) fn is_ready(&self) -> bool {
        !self.bytes.is_empty() && self.bytes.len() >= self.need
    }

    /// The client's half is over; what is here is all there will be.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// What is left.
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes
    }

    /// Gives what is here to `execute`, which says how much of it is done with, and how much there must be in all before the rest is
    /// worth another look (0: it may be looked at whenever there is room for its replies).
    pub(super) fn execute(&mut self, execute: impl FnOnce(&[u8]) -> (usize, usize)) {
        let (used, need) = execute(&self.bytes);
        self.bytes.drain(..used);
        self.need = need;
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT_BYTES {
            let given = mem::take(&mut self.bytes);
            if (SPARE.with_borrow(Vec::capacity)..=2 * ROOM_BYTES_MAX).contains(&given.capacity()) {
                SPARE.set(given);
            }
        }
    }

    /// Keeps the beginning of a command that takes `need` bytes.
    fn keep(&mut self, rest: &[u8], need: usize) {
        self.need = need;
        let room = need.min(ROOM_BYTES_MAX);
        if room > KEPT_BYTES && self.bytes.capacity() < room {
            self.bytes = SPARE.take();
            self.bytes.reserve_exact(room);
        }
        self.bytes.extend_from_slice(rest);
    }

    /// Reads once, and executes what came as [`execute`](Self::execute) does, if it is worth it.
    pub(super) fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        execute: impl FnOnce(&[u8]) -> (usize, usize),
    ) -> Poll<io::Result<()>> {
        let mut buffer = SHARED.take();
        buffer.resize(READ_BYTES, 0);
        let mut read = ReadBuf::new(&mut buffer);
        let Poll::Ready(result) = Pin::new(stream).poll_read(cx, &mut read) else {
            SHARED.set(buffer);
            return Poll::Pending;
        };
        let filled = read.filled();
        match (&result, filled.len()) {
            (Err(_), _) => {}
            (Ok(()), 0) => self.ended = true,
            (Ok(()), _) if self.bytes.is_empty() => {
                let (used, need) = execute(filled);
                self.keep(&filled[used..], need);
            }
            (Ok(()), _) => {
                self.bytes.extend_from_slice(filled);
                if self.is_ready() {
                    self.execute(execute);
                }
            }
        }
        SHARED.set(buffer);
        Poll::Ready(result)
    }
}
