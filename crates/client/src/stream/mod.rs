//! A connection to nsqd as bytes: TCP or TLS, bare or compressed.
//!
//! Two layers, each an enum, so that the plain path costs a branch and no box:
//! - [`Transport`] is what carries bytes: TCP, TLS over TCP, or a pipe in memory (the embedded queue, and tests).
//! - [`compress::Layer`] is a transport as it is, or snappy or deflate over it. [`Stream`] is that, named.
//!
//! Reading and writing are independent, so one task may `poll_read` and `poll_write` the same stream without splitting it. A write may stay in a buffer (compression, TLS) until
//! `poll_flush`, which returns ready only when the socket has taken everything.

mod resolver;
mod tcp;

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use compress::Layer;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::settings::Compression;

pub(crate) use resolver::Resolver;
pub use tcp::ConnectError;
pub(crate) use tcp::{connect, split_address};

/// What carries the bytes of a connection.
#[derive(Debug)]
pub(crate) enum Transport {
    Tcp(TcpStream),
    // Boxed: the rustls state is over 1 KiB and would make every plain stream as large.
    Tls(Box<TlsStream<TcpStream>>),
    Duplex(DuplexStream),
}

/// A connection to nsqd: [`AsyncRead`], [`AsyncWrite`] and [`Unpin`].
#[derive(Debug)]
pub struct Stream(Layer<Transport>);

impl Stream {
    pub(crate) fn new(transport: Transport, compression: Compression) -> Stream {
        Stream(match compression {
            Compression::None => Layer::plain(transport),
            Compression::Snappy => Layer::snappy(transport),
            Compression::Deflate { level } => Layer::deflate(transport, level),
        })
    }

    /// The socket's other end; `None` for a pipe in memory.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.0.transport().socket()?.peer_addr().ok()
    }
}

/// A pipe in memory as a connection, without compression.
impl From<DuplexStream> for Stream {
    fn from(pipe: DuplexStream) -> Stream {
        Stream::new(Transport::Duplex(pipe), Compression::None)
    }
}

impl Transport {
    fn socket(&self) -> Option<&TcpStream> {
        match self {
            Transport::Tcp(socket) => Some(socket),
            Transport::Tls(tls) => Some(tls.get_ref().0),
            Transport::Duplex(_) => None,
        }
    }
}

/// Hands a call on to whichever transport is there.
macro_rules! forward {
    ($transport:expr, $call:ident($($argument:expr),*)) => {
        match $transport.get_mut() {
            Transport::Tcp(inner) => Pin::new(inner).$call($($argument),*),
            Transport::Tls(inner) => Pin::new(inner).$call($($argument),*),
            Transport::Duplex(inner) => Pin::new(inner).$call($($argument),*),
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Transport::Duplex(pipe) => Pin::new(pipe).poll_read(cx, buf),
            Transport::Tls(tls) => match ready!(Pin::new(tls).poll_read(cx, buf)) {
                // nsqd closes its socket without a close_notify. That hides no truncation: every frame has its length, so an end within one is noticed, and between two it is as
                // good as a reset, which anybody on the way can cause.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
                read => Poll::Ready(read),
            },
        }
    }
}

impl AsyncWrite for Transport {
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
        match self {
            Transport::Tcp(tcp) => tcp.is_write_vectored(),
            Transport::Tls(tls) => tls.is_write_vectored(),
            Transport::Duplex(pipe) => pipe.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, poll_shutdown(cx))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}
