//! What carries the bytes of HTTP: plain TCP, or TLS over it. Another way to reach the peer (a Unix socket, a proxy)
//! ends in one of these two.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use crate::close_reason::CloseReason;
use crate::outcome::{Cause, TlsFailure};
use crate::socket::Socket;

/// A connection as bytes in both directions.
#[derive(Debug)]
pub(crate) enum Transport {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl Transport {
    pub(crate) fn socket(&self) -> &Socket {
        match self {
            Transport::Plain(socket) => socket,
            Transport::Tls(stream) => stream.get_ref().0,
        }
    }

    pub(crate) fn socket_mut(&mut self) -> &mut Socket {
        match self {
            Transport::Plain(socket) => socket,
            Transport::Tls(stream) => stream.get_mut().0,
        }
    }

    /// Reads into `scratch`; 0 is the end of the stream.
    #[inline]
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(scratch);
        let read = match self {
            Transport::Plain(socket) => Pin::new(socket).poll_read(cx, &mut buf),
            Transport::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, &mut buf),
        };
        read.map_ok(|()| buf.filled().len())
    }

    /// Hands bytes over; over TLS they may then wait in rustls until [`poll_flush`](Transport::poll_flush) is done.
    #[inline]
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Transport::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Transport::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, bufs),
        }
    }

    /// Ready when the kernel has taken every byte handed over.
    #[inline]
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Transport::Plain(_) => Poll::Ready(Ok(())),
            Transport::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    /// What rustls wants to say by itself, given to the kernel without waiting. Whether all of it went. Its answer to a
    /// KeyUpdate is not among it: that goes out with the next request.
    pub(crate) fn settle_tls(&mut self, cx: &mut Context<'_>) -> bool {
        match self {
            Transport::Plain(_) => true,
            Transport::Tls(stream) => {
                !stream.get_ref().1.wants_write()
                    || matches!(Pin::new(&mut **stream).poll_flush(cx), Poll::Ready(Ok(())))
            }
        }
    }

    /// Tells the peer that nothing more comes, without waiting. A plain connection says so by its FIN.
    pub(crate) fn say_goodbye(&mut self) {
        if let Transport::Tls(stream) = self {
            stream.get_mut().1.send_close_notify();
            let mut cx = Context::from_waker(Waker::noop());
            // Best effort: the connection is over either way.
            drop(Pin::new(&mut **stream).poll_flush(&mut cx));
        }
    }

    /// The reason for which a connection is over whose read gave 0.
    pub(crate) fn end_of_stream(&self) -> CloseReason {
        match self {
            Transport::Plain(_) => CloseReason::PeerFin,
            Transport::Tls(_) => CloseReason::PeerCloseNotify,
        }
    }
}

/// The reason for which a connection is over whose read or write failed.
pub(crate) fn close_reason(error: &io::Error) -> CloseReason {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof};
    if let Some(tls) = tls_error(error) {
        return match tls {
            rustls::Error::AlertReceived(_) => CloseReason::PeerAlert,
            _ => CloseReason::PeerBrokeTls,
        };
    }
    match error.kind() {
        ConnectionReset | ConnectionAborted | BrokenPipe => CloseReason::PeerReset,
        // rustls gives this for a FIN without close_notify; a plain socket never does.
        UnexpectedEof => CloseReason::PeerFinUnannounced,
        TimedOut => CloseReason::PeerSilent,
        _ => CloseReason::SocketFailed,
    }
}

/// Why a request got no answer on a connection that is over for `reason`.
pub(crate) fn cause(reason: CloseReason, error: Option<&io::Error>) -> Cause {
    match (reason, error) {
        (CloseReason::PeerReset, _) => Cause::Reset,
        (CloseReason::PeerFin | CloseReason::PeerCloseNotify | CloseReason::PeerFinUnannounced, _) => {
            Cause::ClosedBeforeAnswer
        }
        (CloseReason::StrayBytes, _) => Cause::SpokeFirst,
        (_, Some(error)) => match TlsFailure::in_io_error(error) {
            Some(failure) => Cause::Tls(failure),
            None => Cause::Broken(error.kind()),
        },
        (_, None) => Cause::ClosedBeforeAnswer,
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_end_has_a_reason_of_its_own() {
        let of_kind = |kind: io::ErrorKind| close_reason(&kind.into());
        assert_eq!(of_kind(io::ErrorKind::ConnectionReset), CloseReason::PeerReset);
        assert_eq!(of_kind(io::ErrorKind::BrokenPipe), CloseReason::PeerReset);
        assert_eq!(of_kind(io::ErrorKind::UnexpectedEof), CloseReason::PeerFinUnannounced);
        assert_eq!(of_kind(io::ErrorKind::TimedOut), CloseReason::PeerSilent);
        assert_eq!(of_kind(io::ErrorKind::NetworkDown), CloseReason::SocketFailed);
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::InternalError);
        assert_eq!(close_reason(&io::Error::new(io::ErrorKind::InvalidData, alert)), CloseReason::PeerAlert);
        let garbage = rustls::Error::DecryptError;
        assert_eq!(close_reason(&io::Error::other(garbage)), CloseReason::PeerBrokeTls);
    }
}
