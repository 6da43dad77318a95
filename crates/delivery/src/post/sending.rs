//! Writing one request: where it stands, and what to hand over next.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use crate::transport::Transport;

/// Head and body up to this go out in one write, and over TLS in one record, which cannot be larger.
const ONE_WRITE_BYTES: usize = 16 * 1024;

/// Handed over in one write at most. Between two writes the answer is looked for, and other tasks get their turn.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// Pieces handed over in one write at most.
const SLICES_MAX: usize = 32;

/// A request on its way out.
pub(super) struct Sending<'a> {
    head: &'a [u8],
    body: &'a [Bytes],
    /// The next piece: 0 is the head, `n` is `body[n - 1]`.
    piece: usize,
    /// Bytes of that piece that are handed over.
    offset: usize,
}

impl<'a> Sending<'a> {
    pub(super) fn new(head: &'a [u8], body: &'a [Bytes]) -> Sending<'a> {
        Sending { head, body, piece: 0, offset: 0 }
    }

    /// Hands over the next write, and when that was the last one, flushes. `Ready(true)` when the kernel has taken
    /// every byte, `Ready(false)` when there is more to hand over at once.
    pub(super) fn poll_write(
        &mut self,
        transport: &mut Transport,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        if !self.is_handed_over() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = self.slices(&mut slices);
            match ready!(transport.poll_write(cx, &slices[..count]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                len => self.advance(len),
            }
            if !self.is_handed_over() {
                return Poll::Ready(Ok(false));
            }
        }
        transport.poll_flush(cx).map_ok(|()| true)
    }

    fn is_handed_over(&self) -> bool {
        self.piece > self.body.len()
    }

    fn piece(&self, index: usize) -> &'a [u8] {
        if index == 0 { self.head } else { &self.body[index - 1] }
    }

    /// Fills `slices` with what comes next; how many.
    fn slices<'s>(&self, slices: &mut [IoSlice<'s>; SLICES_MAX]) -> usize
    where
        'a: 's,
    {
        let mut room = WRITE_BYTES_MAX;
        let mut count = 0;
        let mut offset = self.offset;
        for index in self.piece..=self.body.len() {
            if room == 0 || count == SLICES_MAX {
                break;
            }
            let piece = &self.piece(index)[offset..];
            let piece = &piece[..piece.len().min(room)];
            slices[count] = IoSlice::new(piece);
            (count, room, offset) = (count + 1, room - piece.len(), 0);
        }
        count
    }

    /// Moves past `len` bytes, and past empty pieces behind them.
    fn advance(&mut self, len: usize) {
        self.offset += len;
        while !self.is_handed_over() && self.offset >= self.piece(self.piece).len() {
            self.offset -= self.piece(self.piece).len();
            self.piece += 1;
        }
    }
}

/// Whether a small body in many pieces is better copied behind the head, to stay one write and one record.
pub(crate) fn is_worth_copying(head_len: usize, body: &[Bytes], body_len: u64) -> bool {
    body.len() >= SLICES_MAX && body_len.saturating_add(head_len as u64) <= ONE_WRITE_BYTES as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(sending: &Sending<'_>) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let count = sending.slices(&mut slices);
        slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect()
    }

    #[test]
    fn pieces_go_out_in_order_whatever_is_taken_of_them() {
        let body = [Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(b"two"), Bytes::new()];
        for taken in 1..=8 {
            let mut sending = Sending::new(b"HEAD", &body);
            let mut out = Vec::new();
            while !sending.is_handed_over() {
                let next = next(&sending);
                let len = next.len().min(taken);
                assert!(len > 0, "never stuck on an empty piece");
                out.extend_from_slice(&next[..len]);
                sending.advance(len);
            }
            assert_eq!(out, b"HEADonetwo");
        }
    }

    #[test]
    fn a_write_is_bounded_in_bytes_and_pieces() {
        let large = [Bytes::from(vec![b'x'; 200_000])];
        let mut sending = Sending::new(b"HEAD", &large);
        assert_eq!(next(&sending).len(), WRITE_BYTES_MAX);
        sending.advance(WRITE_BYTES_MAX);
        assert_eq!(next(&sending).len(), WRITE_BYTES_MAX);
        let many = vec![Bytes::from_static(b"x"); 1_000];
        assert_eq!(next(&Sending::new(b"HEAD", &many)).len(), 4 + SLICES_MAX - 1);
        assert!(is_worth_copying(4, &many, 1_000));
        assert!(!is_worth_copying(4, &large, 10));
    }
}
