//! Snappy's framing format over a transport (google/snappy, `framing_format.txt`), both ways.
//!
//! A stream is a run of chunks: type (1 byte), length (3 bytes, little-endian), that many bytes. A data chunk starts with the masked CRC-32C of its 64 KiB or less of plain bytes, so that is
//! all that is ever buffered; whatever claims more is corrupt. Corruption is an error of the kind `InvalidData`, and stays one however often the stream is read again.
//! `snap`'s own framing types are for blocking streams, so only its block codec is used.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::buffer::{Incoming, Outgoing, empty};

/// Chunk type and length, in front of every chunk.
const HEAD_LEN: usize = 4;
const CRC_LEN: usize = 4;
/// The format's limit for one data chunk, before compression.
const PLAIN_BYTES_MAX: usize = 64 * 1024;
/// What a block of that size can grow to when it does not compress: 32 + n + n/6, as `snap` has it.
const BLOCK_BYTES_MAX: usize = 32 + PLAIN_BYTES_MAX + PLAIN_BYTES_MAX / 6;

const COMPRESSED: u8 = 0x00;
const UNCOMPRESSED: u8 = 0x01;
const STREAM_IDENTIFIER: u8 = 0xff;
const STREAM_IDENTIFIER_CHUNK: &[u8] = b"\xff\x06\x00\x00sNaPpY";

/// A transport, compressed.
#[derive(Debug)]
pub(super) struct Snappy<T> {
    transport: T,
    incoming: Incoming,
    chunks: ChunkDecoder,
    encoder: Encoder,
    outgoing: Outgoing,
    greeted: bool,
}

impl<T> Snappy<T> {
    pub(super) fn new(transport: T) -> Snappy<T> {
        Snappy {
            transport,
            incoming: Incoming::default(),
            chunks: ChunkDecoder::default(),
            encoder: Encoder::new(),
            outgoing: Outgoing::default(),
            greeted: false,
        }
    }

    pub(super) fn transport(&self) -> &T {
        &self.transport
    }

    #[cfg(test)]
    pub(super) fn buffered_capacity(&self) -> usize {
        self.incoming.capacity() + self.chunks.plain.capacity() + self.outgoing.bytes.capacity()
    }

    /// Appends `plain`, 64 KiB or less of it, as one chunk.
    fn encode(&mut self, plain: &[u8]) -> io::Result<()> {
        let out = &mut self.outgoing.bytes;
        if !self.greeted {
            self.greeted = true;
            out.extend_from_slice(STREAM_IDENTIFIER_CHUNK);
        }
        let head = out.len();
        let block = head + HEAD_LEN + CRC_LEN;
        out.resize(block + max_compress_len(plain.len()), 0);
        let mut len = self.encoder.compress(plain, &mut out[block..]).map_err(io::Error::other)?;
        let mut kind = COMPRESSED;
        // What saves less than an eighth is cheaper to read as it is.
        if len >= plain.len() - plain.len() / 8 {
            len = plain.len();
            kind = UNCOMPRESSED;
            out[block..block + len].copy_from_slice(plain);
        }
        out.truncate(block + len);
        let [low, middle, high, _] = u32::to_le_bytes((len + CRC_LEN) as u32);
        out[head..head + HEAD_LEN].copy_from_slice(&[kind, low, middle, high]);
        out[head + HEAD_LEN..block].copy_from_slice(&masked(plain).to_le_bytes());
        Ok(())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Snappy<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.chunks.take(buf) || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if this.chunks.decode_next(&mut this.incoming)? {
                continue;
            }
            if ready!(this.incoming.poll_fill(&mut this.transport, cx))? == 0 {
                return Poll::Ready(this.chunks.end(&this.incoming));
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Snappy<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(this.outgoing.poll_room(&mut this.transport, cx))?;
        let plain = &bytes[..bytes.len().min(PLAIN_BYTES_MAX)];
        this.encode(plain)?;
        Poll::Ready(Ok(plain.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.outgoing.poll_drain(&mut this.transport, cx))?;
        Pin::new(&mut this.transport).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.outgoing.poll_drain(&mut this.transport, cx))?;
        Pin::new(&mut this.transport).poll_shutdown(cx)
    }
}

/// Takes chunks apart as they become whole.
#[derive(Debug, Default)]
struct ChunkDecoder {
    decoder: Decoder,
    greeted: bool,
    /// Bytes of a skippable chunk that are still to come.
    skip: usize,
    plain: Vec<u8>,
    taken: usize,
}

/// What a chunk's head asks for.
enum Chunk {
    Identifier,
    Data { compressed: bool },
    Skippable,
}

impl Chunk {
    /// The kind of a chunk with this head, when such a chunk may stand here.
    fn of(kind: u8, len: usize, greeted: bool) -> io::Result<Chunk> {
        let chunk = match kind {
            STREAM_IDENTIFIER if len == STREAM_IDENTIFIER_CHUNK.len() - HEAD_LEN => Chunk::Identifier,
            STREAM_IDENTIFIER => return Err(corrupt("stream identifier of a wrong length")),
            _ if !greeted => return Err(corrupt("no stream identifier")),
            COMPRESSED if (CRC_LEN..=CRC_LEN + BLOCK_BYTES_MAX).contains(&len) => {
                Chunk::Data { compressed: true }
            }
            UNCOMPRESSED if (CRC_LEN..=CRC_LEN + PLAIN_BYTES_MAX).contains(&len) => {
                Chunk::Data { compressed: false }
            }
            COMPRESSED | UNCOMPRESSED => return Err(corrupt("data chunk of an impossible length")),
            0x02..=0x7f => return Err(corrupt("chunk of a reserved type that may not be skipped")),
            0x80..=0xfe => Chunk::Skippable,
        };
        Ok(chunk)
    }
}

impl ChunkDecoder {
    /// Moves plain bytes into `buf`; false when there are none.
    fn take(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let waiting = &self.plain[self.taken..];
        let count = waiting.len().min(buf.remaining());
        buf.put_slice(&waiting[..count]);
        self.taken += count;
        if self.taken == self.plain.len() {
            self.taken = 0;
            empty(&mut self.plain);
        }
        count > 0
    }

    /// Decodes the next chunk, or as much of a skippable one as is there. False when more bytes are needed.
    fn decode_next(&mut self, incoming: &mut Incoming) -> io::Result<bool> {
        if self.skip > 0 {
            let count = self.skip.min(incoming.unread().len());
            incoming.consume(count);
            self.skip -= count;
            return Ok(count > 0);
        }
        let unread = incoming.unread();
        let Some(([kind, len @ ..], rest)) = unread.split_first_chunk::<HEAD_LEN>() else {
            return Ok(false);
        };
        let len = usize::from(len[0]) | usize::from(len[1]) << 8 | usize::from(len[2]) << 16;
        let chunk = Chunk::of(*kind, len, self.greeted)?;
        if let Chunk::Skippable = chunk {
            self.skip = len;
            incoming.consume(HEAD_LEN);
            return Ok(true);
        }
        let Some(content) = rest.get(..len) else {
            return Ok(false);
        };
        match chunk {
            Chunk::Data { compressed } => self.decode(content, compressed)?,
            _ if content != &STREAM_IDENTIFIER_CHUNK[HEAD_LEN..] => {
                return Err(corrupt("stream identifier is not sNaPpY"));
            }
            _ => self.greeted = true,
        }
        incoming.consume(HEAD_LEN + len);
        Ok(true)
    }

    fn decode(&mut self, content: &[u8], compressed: bool) -> io::Result<()> {
        let (crc, block) = content.split_first_chunk::<CRC_LEN>().expect("a data chunk's length was checked");
        if compressed {
            let len = decompress_len(block).map_err(|_| corrupt("block without a length"))?;
            if len > PLAIN_BYTES_MAX {
                return Err(corrupt("block of more than 64 KiB"));
            }
            self.plain.resize(len, 0);
            let decoded = self.decoder.decompress(block, &mut self.plain);
            decoded
                .map_err(|_| corrupt("block that cannot be decompressed"))
                .inspect_err(|_| self.plain.clear())?;
        } else {
            self.plain.extend_from_slice(block);
        }
        if masked(&self.plain) != u32::from_le_bytes(*crc) {
            self.plain.clear();
            return Err(corrupt("checksum does not match"));
        }
        Ok(())
    }

    /// The stream may end between chunks only.
    fn end(&self, incoming: &Incoming) -> io::Result<()> {
        if self.skip == 0 && incoming.unread().is_empty() {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

/// The checksum as the framing format stores it (its section 3): rotated and shifted, since a CRC over bytes that hold CRCs is weak.
pub(super) fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn corrupt(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("snappy: {what}"))
}
