//! The layers that IDENTIFY can put over a connection: TLS, snappy, deflate.

use std::io::{self, Read as _, Write as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::task::AbortHandle;

pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

/// A connection with whatever layers it has.
pub(super) type Stream = Box<dyn Duplex>;

pub(super) async fn tls(stream: Stream, config: Arc<ServerConfig>) -> io::Result<Stream> {
    let accepted = tokio_rustls::TlsAcceptor::from(config).accept(stream).await?;
    Ok(Box::new(accepted))
}

/// snappy's framing format in both directions.
pub(super) fn snappy(stream: Stream) -> Stream {
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    let encode = move |bytes: &[u8]| {
        encoder.write_all(bytes)?;
        encoder.flush()?;
        Ok(std::mem::take(encoder.get_mut()))
    };
    let mut pending = Vec::new();
    let decode = move |bytes: &[u8]| {
        pending.extend_from_slice(bytes);
        let mut out = Vec::new();
        while let Some(len) = snappy_chunk_len(&pending) {
            let chunk: Vec<u8> = pending.drain(..len).collect();
            // The decoder wants a whole stream; one chunk behind a stream identifier is one, and its checksum is checked.
            let alone = [&SNAPPY_STREAM[..], &chunk].concat();
            snap::read::FrameDecoder::new(&alone[..]).read_to_end(&mut out)?;
        }
        Ok(out)
    };
    layer(stream, decode, encode)
}

const SNAPPY_STREAM: [u8; 10] = *b"\xff\x06\x00\x00sNaPpY";

fn snappy_chunk_len(bytes: &[u8]) -> Option<usize> {
    let header = bytes.first_chunk::<4>()?;
    let len = 4 + u32::from_le_bytes([header[1], header[2], header[3], 0]) as usize;
    (bytes.len() >= len).then_some(len)
}

/// Raw deflate (no zlib header) with a sync flush after every write.
pub(super) fn deflate(stream: Stream, level: u32) -> Stream {
    let mut compress = Compress::new(Compression::new(level), false);
    let encode = move |bytes: &[u8]| {
        let mut out = Vec::with_capacity(bytes.len() + 64);
        let before = compress.total_in();
        loop {
            let at = (compress.total_in() - before) as usize;
            let room = out.capacity() - out.len();
            compress.compress_vec(&bytes[at..], &mut out, FlushCompress::Sync).map_err(io::Error::other)?;
            let done = (compress.total_in() - before) as usize == bytes.len();
            if done && out.capacity() > out.len() {
                return Ok(out);
            }
            out.reserve(room.max(1024));
        }
    };
    let mut decompress = Decompress::new(false);
    let decode = move |bytes: &[u8]| {
        let mut out = Vec::with_capacity(64 << 10);
        let before = decompress.total_in();
        loop {
            let at = (decompress.total_in() - before) as usize;
            decompress
                .decompress_vec(&bytes[at..], &mut out, FlushDecompress::Sync)
                .map_err(io::Error::other)?;
            let done = (decompress.total_in() - before) as usize == bytes.len();
            if done && out.capacity() > out.len() {
                return Ok(out);
            }
            out.reserve(64 << 10);
        }
    };
    layer(stream, decode, encode)
}

/// A duplex stream with two tasks behind it that translate.
struct Layer {
    inner: DuplexStream,
    tasks: [AbortHandle; 2],
}

impl Drop for Layer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

fn layer(
    stream: Stream,
    decode: impl FnMut(&[u8]) -> io::Result<Vec<u8>> + 'static,
    encode: impl FnMut(&[u8]) -> io::Result<Vec<u8>> + 'static,
) -> Stream {
    let (inner, outer) = tokio::io::duplex(256 << 10);
    let (raw_read, raw_write) = tokio::io::split(stream);
    let (plain_read, plain_write) = tokio::io::split(outer);
    let tasks = [
        tokio::task::spawn_local(translate(raw_read, plain_write, decode)).abort_handle(),
        tokio::task::spawn_local(translate(plain_read, raw_write, encode)).abort_handle(),
    ];
    Box::new(Layer { inner, tasks })
}

/// An error of either side ends the direction, which the other side sees as the end of the stream.
async fn translate(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut code: impl FnMut(&[u8]) -> io::Result<Vec<u8>>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let got = from.read(&mut buffer).await.unwrap_or(0);
        if got == 0 {
            break;
        }
        let Ok(coded) = code(&buffer[..got]) else { break };
        if to.write_all(&coded).await.is_err() || to.flush().await.is_err() {
            break;
        }
    }
    to.shutdown().await.ok();
}

impl AsyncRead for Layer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Layer {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
