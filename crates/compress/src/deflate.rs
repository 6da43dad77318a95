//! Raw deflate (RFC 1951, no zlib header) over a transport, both ways, with a sync flush at each flush.
//!
//! A flush ends the running block on a byte boundary, so the peer can decode all that was written before it; without a flush nothing is certain to have left. The compressor holds
//! about 260 KiB per connection, the decompressor 40. What a few compressed bytes expand to is bounded by the caller's buffer. Corruption is an error of the kind
//! `InvalidData`, and stays one.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::buffer::{Incoming, Outgoing};

/// Room given to one call of the codec.
const STEP_BYTES: usize = 16 * 1024;

/// A transport, compressed.
#[derive(Debug)]
pub(super) struct Deflate<T> {
    transport: T,
    incoming: Incoming,
    inflate: Decompress,
    /// The last call filled all the room it had, so the codec may hold plain bytes that need no further input.
    more_plain: bool,
    inflate_ended: bool,
    deflate: Compress,
    outgoing: Outgoing,
    /// Bytes went in since the last sync flush.
    unflushed: bool,
    deflate_ended: bool,
}

impl<T> Deflate<T> {
    pub(super) fn new(transport: T, level: u8) -> Deflate<T> {
        Deflate {
            transport,
            incoming: Incoming::default(),
            inflate: Decompress::new(false),
            more_plain: false,
            inflate_ended: false,
            deflate: Compress::new(Compression::new(u32::from(level)), false),
            outgoing: Outgoing::default(),
            unflushed: false,
            deflate_ended: false,
        }
    }

    pub(super) fn transport(&self) -> &T {
        &self.transport
    }

    /// One call of the decompressor. `Some(n)` when `n` plain bytes were written to `room`, or the stream ended; `None` when it needs input.
    fn decode(&mut self, room: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            let unread = self.incoming.unread();
            if self.inflate_ended {
                return Ok(Some(0));
            }
            if unread.is_empty() && !self.more_plain {
                return Ok(None);
            }
            let (in_before, out_before) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self
                .inflate
                .decompress(unread, room, FlushDecompress::None)
                .map_err(|_| corrupt("cannot be decompressed"))?;
            let consumed = (self.inflate.total_in() - in_before) as usize;
            let plain = (self.inflate.total_out() - out_before) as usize;
            self.incoming.consume(consumed);
            self.more_plain = plain == room.len();
            self.inflate_ended = status == Status::StreamEnd;
            if plain > 0 {
                return Ok(Some(plain));
            }
            if consumed == 0 && !self.inflate_ended && !self.incoming.unread().is_empty() {
                return Err(corrupt("makes no progress"));
            }
        }
    }

    /// One call of the compressor. Returns how much of `plain` it took.
    fn compress(&mut self, plain: &[u8]) -> io::Result<usize> {
        let out = &mut self.outgoing.bytes;
        out.reserve(STEP_BYTES);
        let (in_before, out_before) = (self.deflate.total_in(), out.len());
        self.deflate.compress_vec(plain, out, FlushCompress::None).map_err(io::Error::other)?;
        let taken = (self.deflate.total_in() - in_before) as usize;
        if taken == 0 && out.len() == out_before { Err(io::ErrorKind::WriteZero.into()) } else { Ok(taken) }
    }

    /// Ends the block, or the stream, into `outgoing`.
    fn end_block(&mut self, flush: FlushCompress) -> io::Result<()> {
        loop {
            self.outgoing.bytes.reserve(STEP_BYTES);
            self.deflate.compress_vec(&[], &mut self.outgoing.bytes, flush).map_err(io::Error::other)?;
            // Room left over: the codec has nothing more to give.
            if self.outgoing.bytes.len() < self.outgoing.bytes.capacity() {
                return Ok(());
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Deflate<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            let room = buf.remaining().min(STEP_BYTES);
            if let Some(plain) = this.decode(buf.initialize_unfilled_to(room))? {
                buf.advance(plain);
                return Poll::Ready(Ok(()));
            }
            // Both ends of NSQ close without ending their stream, so the transport's end is an end here too.
            if ready!(this.incoming.poll_fill(&mut this.transport, cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Deflate<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if this.deflate_ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        loop {
            ready!(this.outgoing.poll_room(&mut this.transport, cx))?;
            let taken = this.compress(bytes)?;
            this.unflushed = true;
            // 0: what the compressor still held took all the room.
            if taken > 0 {
                return Poll::Ready(Ok(taken));
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.unflushed {
            this.end_block(FlushCompress::Sync)?;
            this.unflushed = false;
        }
        ready!(this.outgoing.poll_drain(&mut this.transport, cx))?;
        Pin::new(&mut this.transport).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.deflate_ended {
            this.end_block(FlushCompress::Finish)?;
            this.deflate_ended = true;
            this.unflushed = false;
        }
        ready!(this.outgoing.poll_drain(&mut this.transport, cx))?;
        Pin::new(&mut this.transport).poll_shutdown(cx)
    }
}

fn corrupt(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("deflate: {what}"))
}
