//! One listener and the connections that came through it: a local task each.

use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::listen::{Accepted, Listener};
use super::places::{Place, Places};
use super::{GRACE, Phase, report};
use crate::http::Api;
use crate::shared::BrokerShared;
use crate::tcp;

/// After an accept that failed for lack of descriptors or memory. Those come back when a connection ends; to ask at once again would only burn CPU.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// For the handshake of an HTTPS connection.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// What is spoken behind a door.
#[derive(Clone)]
pub(super) enum Protocol {
    Nsq(Rc<BrokerShared>),
    Http(Rc<Api>),
    Https(Rc<Api>, TlsAcceptor),
}

/// A door.
pub(super) struct Door {
    pub(super) protocol: Protocol,
    pub(super) places: Rc<Places>,
    pub(super) phase: watch::Receiver<Phase>,
}

impl Door {
    /// Takes connections until the broker closes, and ends when the last of them has ended, or was closed.
    pub(super) async fn run(mut self, mut listener: Listener) {
        let mut sessions = JoinSet::new();
        loop {
            tokio::select! {
                () = reached(&mut self.phase, Phase::Closing) => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.admit(stream, peer, &mut sessions),
                    Err(error) => {
                        self.places.count_failure();
                        tracing::warn!(%error, "a connection was not accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(ended) = sessions.join_next() => report(ended),
            }
        }
        drop(listener);
        reached(&mut self.phase, Phase::Closed).await;
        let all = async {
            while let Some(ended) = sessions.join_next().await {
                report(ended);
            }
        };
        if timeout(GRACE, all).await.is_err() {
            sessions.shutdown().await;
        }
    }

    fn admit(&self, stream: Accepted, peer: String, sessions: &mut JoinSet<()>) {
        // Pipes are this process's own: they are no sockets, and strangers must not be able to keep its lanes out.
        let place = match stream {
            Accepted::Pipe(_) => None,
            Accepted::Tcp(_) | Accepted::Unix(_) => match self.places.take() {
                Some(place) => Some(place),
                None => {
                    tracing::warn!(peer, "closed at once: there are as many connections as may be");
                    return;
                }
            },
        };
        let (protocol, phase) = (self.protocol.clone(), self.phase.clone());
        sessions.spawn_local(async move {
            match stream {
                Accepted::Tcp(stream) => serve(protocol, stream, peer, phase, place).await,
                Accepted::Unix(stream) => serve(protocol, stream, peer, phase, place).await,
                Accepted::Pipe(stream) => serve(protocol, stream, peer, phase, place).await,
            }
        });
    }
}

async fn serve<S>(
    protocol: Protocol,
    stream: S,
    peer: String,
    mut phase: watch::Receiver<Phase>,
    _place: Option<Place>,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let closing = async move { reached(&mut phase, Phase::Closing).await };
    match protocol {
        Protocol::Nsq(broker) => tcp::serve(stream, peer, broker).await,
        Protocol::Http(api) => api.serve(stream, false, closing).await,
        Protocol::Https(api, tls) => match timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => api.serve(stream, true, closing).await,
            Ok(Err(error)) => tracing::debug!(peer, %error, "no TLS with an HTTPS client"),
            Err(_late) => tracing::debug!(peer, "an HTTPS client does not shake hands"),
        },
    }
}

/// Waits until the broker is so far. One that was dropped is at its end.
async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    if phase.wait_for(|phase| *phase >= wanted).await.is_err() {
        tracing::debug!("the broker was dropped");
    }
}
