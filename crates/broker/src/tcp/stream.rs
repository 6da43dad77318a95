//! A connection as bytes: in clear or in TLS, bare or compressed. It only ever moves up: clear, TLS, compression.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use compress::Layer;
use rustls::{ProtocolVersion, ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::certificate::subject_name;
use crate::client::ClientTls;

/// What a session reads and writes.
pub(super) type Stream<S> = Layer<Carrier<S>>;

/// What carries the bytes.
#[derive(Debug)]
pub(super) enum Carrier<S> {
    Clear(S),
    // Boxed: the rustls state is over 1 KiB and would make every plain connection as large.
    Tls(Box<TlsStream<S>>),
}

/// What follows an IDENTIFY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Upgrades {
    pub(super) tls: bool,
    pub(super) compression: Compression,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Compression {
    #[default]
    None,
    Snappy,
    Deflate {
        level: u8,
    },
}

/// What is known of a client by its handshake.
pub(super) struct Handshake {
    pub(super) shown: ClientTls,
    /// Of its certificate: what auth servers are told.
    pub(super) common_name: String,
}

/// Waits for the client's handshake, however long that takes. Whatever was read and not used yet is gone, as with nsqd: none of it may be taken for something
/// that came encrypted.
pub(super) async fn upgrade_tls<S: AsyncRead + AsyncWrite + Unpin>(
    stream: Stream<S>,
    config: &Arc<ServerConfig>,
) -> io::Result<(Stream<S>, Handshake)> {
    let Ok(Carrier::Clear(socket)) = stream.into_plain() else {
        return Err(io::Error::other("only a plain connection can be upgraded"));
    };
    let tls = TlsAcceptor::from(Arc::clone(config)).accept(socket).await?;
    let handshake = handshake(tls.get_ref().1);
    Ok((Layer::plain(Carrier::Tls(Box::new(tls))), handshake))
}

/// Puts compression over what there is.
pub(super) fn upgrade_compression<S>(stream: Stream<S>, compression: Compression) -> Stream<S> {
    match (compression, stream.into_plain()) {
        (Compression::Snappy, Ok(carrier)) => Layer::snappy(carrier),
        (Compression::Deflate { level }, Ok(carrier)) => Layer::deflate(carrier, level),
        (Compression::None, Ok(carrier)) => Layer::plain(carrier),
        (_, Err(compressed)) => compressed,
    }
}

/// In Go's words, as nsqd's `/stats` has them.
fn handshake(tls: &ServerConnection) -> Handshake {
    let version = match tls.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => "TLS1.2".to_owned(),
        Some(ProtocolVersion::TLSv1_3) => "TLS1.3".to_owned(),
        other => format!("Unknown {}", other.map_or(0, u16::from)),
    };
    let suite = tls.negotiated_cipher_suite().map_or(0, |suite| u16::from(suite.suite()));
    // nsqd names only suites of its time; TLS 1.3's are numbers to it.
    let cipher_suite = match suite {
        0xc02f => "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256".to_owned(),
        0xc02b => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256".to_owned(),
        number => format!("Unknown {number}"),
    };
    let shown = ClientTls {
        cipher_suite,
        version,
        negotiated_protocol: String::new(),
        negotiated_protocol_is_mutual: true,
    };
    let certificate = tls.peer_certificates().and_then(<[_]>::first);
    Handshake { shown, common_name: certificate.and_then(|der| subject_name(der)).unwrap_or_default() }
}

/// Hands a call on to whichever carrier is there.
macro_rules! forward {
    ($carrier:expr, $call:ident($($argument:expr),*)) => {
        match $carrier.get_mut() {
            Carrier::Clear(inner) => Pin::new(inner).$call($($argument),*),
            Carrier::Tls(inner) => Pin::new(inner).$call($($argument),*),
        }
    };
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Carrier<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Carrier::Clear(socket) => Pin::new(socket).poll_read(cx, buf),
            Carrier::Tls(tls) => match ready!(Pin::new(tls).poll_read(cx, buf)) {
                // Clients close without a close_notify. A command that is cut off shows itself.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
                read => Poll::Ready(read),
            },
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Carrier<S> {
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
            Carrier::Clear(socket) => socket.is_write_vectored(),
            Carrier::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, poll_shutdown(cx))
    }
}
