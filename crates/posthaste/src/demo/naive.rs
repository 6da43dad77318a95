//! The naive way: a connection for each message, as a client makes it that is made for a request.
//!
//! TCP, a full TLS handshake with the certificate verified, one POST, its answer read to the end of the connection. As many
//! at once as Posthaste makes, so that both wait for the network alike.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::{JoinSet, LocalSet};
use tokio_rustls::TlsConnector;

use super::certificate::HOST;

/// Where to, and what has been answered so far.
pub(super) struct Naive {
    pub(super) address: SocketAddr,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) answered: Rc<Cell<u64>>,
}

impl Naive {
    /// Sends every event, `at_once` of them at a time.
    pub(super) async fn send(self: &Rc<Self>, events: &[Bytes], at_once: usize) -> anyhow::Result<()> {
        let next = Rc::new(Cell::new(0));
        let events: Rc<[Bytes]> = events.into();
        LocalSet::new()
            .run_until(async {
                let mut senders = JoinSet::new();
                for _ in 0..at_once {
                    let (naive, next, events) = (Rc::clone(self), Rc::clone(&next), Rc::clone(&events));
                    senders.spawn_local(async move {
                        while let Some(event) = events.get(next.replace(next.get() + 1)) {
                            naive.post(event).await?;
                            naive.answered.set(naive.answered.get() + 1);
                        }
                        anyhow::Ok(())
                    });
                }
                while let Some(sent) = senders.join_next().await {
                    sent??;
                }
                Ok(())
            })
            .await
    }

    async fn post(&self, event: &[u8]) -> anyhow::Result<()> {
        let socket = TcpSocket::new_v4()?.connect(self.address).await.context("connecting the naive way")?;
        socket.set_nodelay(true)?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let mut stream = connector.connect(ServerName::try_from(HOST)?, socket).await?;
        let mut request = format!(
            "POST /events HTTP/1.1\r\nHost: {HOST}:{}\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.address.port(),
            event.len()
        )
        .into_bytes();
        request.extend_from_slice(event);
        stream.write_all(&request).await?;
        stream.flush().await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        if !answer.starts_with(b"HTTP/1.1 200 ") {
            bail!("the naive way was answered {:?}", String::from_utf8_lossy(&answer));
        }
        Ok(())
    }
}
