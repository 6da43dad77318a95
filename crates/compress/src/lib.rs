//! Compression between a codec and its transport: snappy's framing format, or raw deflate, as NSQ negotiates them.
//!
//! [`Layer`] is one enum over any `AsyncRead + AsyncWrite`, so that the plain path costs a branch and no box. It stands in a crate of its
//! own because both ends of NSQ's protocol need it, the client and the embedded queue, and neither may know the other.
//!
//! Reading and writing are independent, so one task may `poll_read` and `poll_write` the same layer without splitting it. A write may stay in
//! a buffer until `poll_flush`, which returns ready only when the transport has taken everything. All that is held is bounded by
//! constants, whatever a peer sends; a stream that is not what it should be is an error of the kind `InvalidData`, and stays one.

mod buffer;
mod deflate;
mod snappy;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use deflate::Deflate;
use snappy::Snappy;

/// A transport as it is, or with compression over it: [`AsyncRead`] and [`AsyncWrite`] where the transport has them.
#[derive(Debug)]
pub struct Layer<T>(Kind<T>);

#[derive(Debug)]
enum Kind<T> {
    Plain(T),
    Snappy(Box<Snappy<T>>),
    Deflate(Box<Deflate<T>>),
}

impl<T> Layer<T> {
    /// The transport as it is.
    pub fn plain(transport: T) -> Layer<T> {
        Layer(Kind::Plain(transport))
    }

    /// Snappy's framing format, both ways.
    pub fn snappy(transport: T) -> Layer<T> {
        Layer(Kind::Snappy(Box::new(Snappy::new(transport))))
    }

    /// Raw deflate, both ways. `level` is how hard to compress, from 0 (not at all) to 9; what the peer sends may have any.
    pub fn deflate(transport: T, level: u8) -> Layer<T> {
        Layer(Kind::Deflate(Box::new(Deflate::new(transport, level))))
    }

    /// What lies below.
    pub fn transport(&self) -> &T {
        match &self.0 {
            Kind::Plain(transport) => transport,
            Kind::Snappy(snappy) => snappy.transport(),
            Kind::Deflate(deflate) => deflate.transport(),
        }
    }

    /// What lies below, when nothing lies above it; the layer itself otherwise, since it may hold bytes that are already read.
    ///
    /// # Errors
    /// The layer, unchanged, when there is compression.
    pub fn into_plain(self) -> Result<T, Layer<T>> {
        match self.0 {
            Kind::Plain(transport) => Ok(transport),
            compressed => Err(Layer(compressed)),
        }
    }
}

/// Hands a call on to whichever kind is there.
macro_rules! forward {
    ($layer:expr, $call:ident($($argument:expr),*)) => {
        match &mut $layer.get_mut().0 {
            Kind::Plain(inner) => Pin::new(inner).$call($($argument),*),
            Kind::Snappy(inner) => Pin::new(inner).$call($($argument),*),
            Kind::Deflate(inner) => Pin::new(inner).$call($($argument),*),
        }
    };
}

impl<T: AsyncRead + Unpin> AsyncRead for Layer<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        forward!(self, poll_read(cx, buf))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Layer<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        forward!(self, poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        forward!(self, poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        matches!(&self.0, Kind::Plain(transport) if transport.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests;
