//! Frames out of a stream, without holding memory for a stream that is silent.
//!
//! One buffer is filled and frames are cut from it; when it has been used up it goes back to the consumer,
//! where the next connection that reads takes it. Small bodies are copied into an exact allocation of their
//! own, so that a body that is held does not keep a read buffer alive. A message that is larger than the
//! buffer is read straight into its own memory; one over the limit is not read at all: its head is, and then
//! it streams by.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;
use wire::frame::{FrameHead, FrameKind, HEADER_LEN, Response};
use wire::{FrameError, MessageHead, ServerError};

/// Bytes of a frame up to a message's body.
const PREFIX_LEN: usize = HEADER_LEN + MessageHead::LEN;

/// A frame that has been read.
#[derive(Debug)]
pub(super) enum Inbound {
    Heartbeat,
    Ok,
    CloseWait,
    /// A response that answers nothing that was asked.
    Other,
    Error(ServerError),
    Message {
        head: MessageHead,
        body: Bytes,
        /// When its first bytes were read: nsqd's clock ran by then.
        read_at: Instant,
    },
    /// Over the limit; its body of so many bytes is not kept.
    Oversized {
        head: MessageHead,
        bytes: usize,
    },
}

/// What the next bytes are.
#[derive(Debug)]
enum Next {
    Frame,
    /// The body of a message that is larger than the buffer.
    Body {
        head: MessageHead,
        body: Vec<u8>,
        filled: usize,
        read_at: Instant,
    },
    /// So many bytes of a message that is not kept.
    Skip(usize),
}

#[derive(Debug)]
pub(super) struct Frames {
    buffer: Vec<u8>,
    buffer_bytes: usize,
    body_bytes_max: usize,
    /// The bytes that were read and not used yet.
    start: usize,
    end: usize,
    next: Next,
    /// When the first bytes came of a frame that is not whole yet.
    begun_at: Option<Instant>,
}

impl Frames {
    pub(super) fn new(buffer_bytes: usize, body_bytes_max: usize) -> Frames {
        Frames {
            buffer: Vec::new(),
            buffer_bytes,
            body_bytes_max,
            start: 0,
            end: 0,
            next: Next::Frame,
            begun_at: None,
        }
    }

    /// Reads once; 0 is the end of the stream.
    pub(super) fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        spare: &Cell<Option<Vec<u8>>>,
    ) -> Poll<io::Result<usize>> {
        if let Next::Body { body, filled, .. } = &mut self.next {
            let read = ready!(poll_read(cx, stream, &mut body[*filled..]))?;
            *filled += read;
            return Poll::Ready(Ok(read));
        }
        if self.buffer.is_empty() {
            self.buffer = spare.take().unwrap_or_else(|| vec![0; self.buffer_bytes]);
        }
        if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let polled = poll_read(cx, stream, &mut self.buffer[self.end..]);
        if let Poll::Ready(Ok(read)) = polled {
            self.end += read;
        } else if self.start == self.end {
            spare.set(Some(std::mem::take(&mut self.buffer)));
            (self.start, self.end) = (0, 0);
        }
        polled
    }

    /// Cuts the next frame from what has been read; `now` is when the last bytes came. `None` when more must
    /// be read.
    pub(super) fn next(&mut self, now: Instant) -> Result<Option<Inbound>, FrameError> {
        loop {
            match &mut self.next {
                Next::Frame => return self.cut(now),
                Next::Skip(left) => {
                    let skipped = (*left).min(self.end - self.start);
                    (self.start, *left) = (self.start + skipped, *left - skipped);
                    if *left > 0 {
                        return Ok(None);
                    }
                }
                Next::Body { body, filled, .. } if *filled < body.len() => return Ok(None),
                Next::Body { head, body, read_at, .. } => {
                    let (head, body, read_at) = (*head, Bytes::from(std::mem::take(body)), *read_at);
                    self.next = Next::Frame;
                    return Ok(Some(Inbound::Message { head, body, read_at }));
                }
            }
            self.next = Next::Frame;
        }
    }

    fn cut(&mut self, now: Instant) -> Result<Option<Inbound>, FrameError> {
        let unused = &self.buffer[self.start..self.end];
        let Some(head) = unused.first_chunk() else { return Ok(self.incomplete(now)) };
        let FrameHead { kind, len } = FrameHead::decode(head)?;
        if kind == FrameKind::Message {
            return Ok(self.cut_message(len - MessageHead::LEN, now));
        }
        let Some(payload) = unused.get(HEADER_LEN..HEADER_LEN + len) else {
            // A response or error is cut whole, so it must fit; a long one is rare and the protocol's bound
            // is low.
            if HEADER_LEN + len > self.buffer.len() {
                self.buffer.resize(HEADER_LEN + len, 0);
            }
            return Ok(self.incomplete(now));
        };
        let inbound = match (kind, Response::new(payload)) {
            (FrameKind::Error, _) => Inbound::Error(ServerError::parse(payload)),
            (_, Response::Heartbeat) => Inbound::Heartbeat,
            (_, Response::Ok) => Inbound::Ok,
            (_, Response::CloseWait) => Inbound::CloseWait,
            (_, Response::Other(_)) => Inbound::Other,
        };
        self.used(HEADER_LEN + len);
        Ok(Some(inbound))
    }

    fn cut_message(&mut self, body_len: usize, now: Instant) -> Option<Inbound> {
        let unused = &self.buffer[self.start..self.end];
        let Some(prefix) = unused.first_chunk::<PREFIX_LEN>() else { return self.incomplete(now) };
        let (_, head) = prefix.split_last_chunk().expect("a message's head is the end of the prefix");
        let head = MessageHead::decode(head);
        if body_len > self.body_bytes_max {
            self.used(PREFIX_LEN);
            self.next = Next::Skip(body_len);
            return Some(Inbound::Oversized { head, bytes: body_len });
        }
        let read_at = self.begun_at.unwrap_or(now);
        if let Some(body) = unused.get(PREFIX_LEN..PREFIX_LEN + body_len) {
            let body = Bytes::copy_from_slice(body);
            self.used(PREFIX_LEN + body_len);
            return Some(Inbound::Message { head, body, read_at });
        }
        if PREFIX_LEN + body_len <= self.buffer.len() {
            return self.incomplete(now);
        }
        let begun = &unused[PREFIX_LEN..];
        let mut body = vec![0; body_len];
        body[..begun.len()].copy_from_slice(begun);
        self.next = Next::Body { head, filled: begun.len(), body, read_at };
        self.used(self.end - self.start);
        None
    }

    fn incomplete(&mut self, now: Instant) -> Option<Inbound> {
        if self.start < self.end {
            self.begun_at.get_or_insert(now);
        }
        None
    }

    fn used(&mut self, bytes: usize) {
        self.start += bytes;
        self.begun_at = None;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }
}

fn poll_read<S: AsyncRead + Unpin>(
    cx: &mut Context<'_>,
    stream: &mut S,
    into: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut into = ReadBuf::new(into);
    ready!(Pin::new(stream).poll_read(cx, &mut into))?;
    Poll::Ready(Ok(into.filled().len()))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt;
    use wire::MessageId;
    use wire::frame::{write_message, write_response};

    use super::*;

    fn message(out: &mut Vec<u8>, n: u8, body: &[u8]) {
        write_message(out, &MessageHead { timestamp_ns: 1, attempts: 1, id: MessageId([n; 16]) }, body);
    }

    /// What comes out when the bytes go in in pieces of `piece`, with a buffer of 4 KiB and bodies of up to
    /// 20,000.
    async fn read(bytes: Vec<u8>, piece: usize) -> Result<Vec<String>, FrameError> {
        let (mut near, mut far) = tokio::io::duplex(piece);
        let write = async move {
            for piece in bytes.chunks(piece) {
                near.write_all(piece).await.expect("there is a reader");
            }
            drop(near);
            std::future::pending().await
        };
        tokio::select! {
            seen = read_all(&mut far) => seen,
            never = write => never,
        }
    }

    #[tokio::test]
    async fn a_small_body_keeps_no_read_buffer_alive() {
        let (mut near, mut far) = tokio::io::duplex(4096);
        let mut bytes = Vec::new();
        message(&mut bytes, 1, &[1; 100]);
        message(&mut bytes, 2, &[2; 100]);
        near.write_all(&bytes).await.expect("there is a reader");
        let (mut frames, spare) = (Frames::new(4096, 20_000), Cell::new(None));
        poll_fn(|cx| frames.poll_fill(cx, &mut far, &spare)).await.expect("a pipe cannot fail");
        for _ in 0..2 {
            let Ok(Some(Inbound::Message { body, .. })) = frames.next(Instant::now()) else { panic!() };
            assert_eq!(body.try_into_mut().expect("nobody shares it").capacity(), 100);
        }
        assert!(poll_fn(|cx| Poll::Ready(frames.poll_fill(cx, &mut far, &spare).is_pending())).await);
        assert_eq!(spare.take().map(|buffer| buffer.len()), Some(4096), "it is free for the next one");
    }

    async fn read_all(far: &mut tokio::io::DuplexStream) -> Result<Vec<String>, FrameError> {
        let (mut frames, spare, mut seen) = (Frames::new(4096, 20_000), Cell::new(None), Vec::new());
        loop {
            let filled = poll_fn(|cx| frames.poll_fill(cx, far, &spare)).await.expect("a pipe cannot fail");
            if filled == 0 {
                return Ok(seen);
            }
            while let Some(inbound) = frames.next(Instant::now())? {
                seen.push(match inbound {
                    Inbound::Message { head, body, .. } => {
                        assert!(body.iter().all(|byte| *byte == head.id.0[0]), "a body of another message");
                        format!("message {} of {}", head.id.0[0], body.len())
                    }
                    Inbound::Oversized { head, bytes } => format!("oversized {} of {bytes}", head.id.0[0]),
                    other => format!("{other:?}"),
                });
            }
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn frames_of_every_size_come_whole_however_they_are_cut() {
        let mut bytes = Vec::new();
        write_response(&mut bytes, b"OK");
        write_response(&mut bytes, b"_heartbeat_");
        let sizes = [0, 1, 100, 4_000, 4_062, 4_063, 5_000, 20_000, 20_001, 90_000, 3];
        for (n, size) in (1..).zip(sizes) {
            message(&mut bytes, n, &vec![n; size]);
        }
        wire::frame::write_error(&mut bytes, wire::ErrorCode::FinFailed, "FIN 1111111111111111 failed");
        write_response(&mut bytes, b"CLOSE_WAIT");
        write_response(&mut bytes, &[b'x'; 60_000]);
        for piece in [1, 7, 33, 34, 35, 1_000, 4_096, 5_000, 1 << 20] {
            let seen = read(bytes.clone(), piece).await.expect("well-formed");
            assert_eq!(&seen[..2], ["Ok", "Heartbeat"], "pieces of {piece}");
            for ((n, size), seen) in (1..).zip(sizes).zip(&seen[2..]) {
                let kind = if size > 20_000 { "oversized" } else { "message" };
                assert_eq!(*seen, format!("{kind} {n} of {size}"), "pieces of {piece}");
            }
            assert_eq!((seen.len(), &*seen[14], &*seen[15]), (16, "CloseWait", "Other"), "pieces of {piece}");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn impossible_frames_are_errors() {
        for (head, error) in [
            (*b"\xff\xff\xff\xff\0\0\0\0", FrameError::NegativeSize { size: -1 }),
            (*b"\x7f\xff\xff\xff\0\0\0\x07", FrameError::UnknownKind { kind: 7, size: i32::MAX }),
            (*b"\0\0\0\x1d\0\0\0\x02", FrameError::MessageTooShort { len: 25 }),
        ] {
            assert_eq!(read(head.to_vec(), 3).await, Err(error));
        }
        assert!(matches!(
            read(b"\x7f\xff\xff\xff\0\0\0\x02".to_vec(), 8).await,
            Err(FrameError::TooLong { .. })
        ));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_silent_stream_holds_no_buffer() {
        let (mut near, mut far) = tokio::io::duplex(64);
        let (mut frames, spare) = (Frames::new(4096, 100), Cell::new(None));
        let mut bytes = Vec::new();
        write_response(&mut bytes, b"OK");
        near.write_all(&bytes).await.expect("there is room");
        poll_fn(|cx| frames.poll_fill(cx, &mut far, &spare)).await.expect("a pipe cannot fail");
        assert_eq!(frames.buffer.len(), 4096);
        assert!(matches!(frames.next(Instant::now()), Ok(Some(Inbound::Ok))));
        let pending = poll_fn(|cx| Poll::Ready(frames.poll_fill(cx, &mut far, &spare).is_pending())).await;
        assert!(pending);
        assert_eq!(frames.buffer.capacity(), 0);
        assert_eq!(spare.take().map(|buffer| buffer.len()), Some(4096), "it is the next reader's");
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn the_time_of_a_message_is_that_of_its_first_byte() {
        let (mut near, mut far) = tokio::io::duplex(1 << 16);
        let (mut frames, spare) = (Frames::new(4096, 10_000), Cell::new(None));
        for size in [100, 8_000] {
            let mut bytes = Vec::new();
            message(&mut bytes, 1, &vec![1; size]);
            let first = Instant::now();
            let mut read_at = None;
            for byte in [&bytes[..5], &bytes[5..60], &bytes[60..]] {
                near.write_all(byte).await.expect("there is room");
                while read_at.is_none() {
                    let filled = poll_fn(|cx| match frames.poll_fill(cx, &mut far, &spare) {
                        Poll::Ready(filled) => Poll::Ready(filled.is_ok()),
                        Poll::Pending => Poll::Ready(false),
                    });
                    if !filled.await {
                        break;
                    }
                    while let Some(Inbound::Message { read_at: at, .. }) =
                        frames.next(Instant::now()).expect("a frame")
                    {
                        read_at = Some(at);
                    }
                }
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
            assert_eq!(read_at, Some(first), "{size} bytes");
        }
    }
}
