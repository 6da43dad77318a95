//! One accepted socket, plain or with TLS over it, with every byte counted.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, InsufficientSizeError, UnbufferedStatus};
use rustls::{HandshakeKind, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::counts::{End, TlsRecord};
use super::options;
use super::records::{Received, Records};

const CLOSE_NOTIFY: u8 = 0;

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// Bytes were appended.
    Bytes,
    /// The peer ended it, and how.
    Ended(End),
}

pub(super) struct Transport {
    tcp: TcpStream,
    tls: Option<Records>,
    /// Bytes under TLS that are not a whole record yet.
    incoming: Vec<u8>,
    /// Application bytes that came with the end of the handshake.
    early: Vec<u8>,
    /// Bytes held back until the first flush or until they are due: the session tickets of the handshake.
    held: Vec<u8>,
    close_notify_seen: bool,
    tickets: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) key_updates_received: u64,
}

impl Transport {
    pub(super) fn plain(tcp: TcpStream) -> Self {
        Self {
            tcp,
            tls: None,
            incoming: Vec::new(),
            early: Vec::new(),
            held: Vec::new(),
            close_notify_seen: false,
            tickets: 0,
            bytes_in: 0,
            bytes_out: 0,
            key_updates_received: 0,
        }
    }

    pub(super) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Makes the TLS handshake. With `hold_tickets` the tickets stay here until [`Transport::release_held`].
    pub(super) async fn handshake(
        &mut self,
        config: Arc<ServerConfig>,
        hold_tickets: bool,
    ) -> io::Result<TlsRecord> {
        let mut connection = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        let mut server_name = None;
        loop {
            let advance = self.advance(&mut connection)?;
            server_name = server_name.or_else(options::server_name_asked_for);
            match advance {
                Advance::Write(bytes) if hold_tickets && !connection.is_handshaking() => {
                    self.held.extend(bytes)
                }
                Advance::Write(bytes) => self.write_raw(&bytes).await?,
                Advance::Failed(alert, error) => {
                    self.write_raw(&alert).await?;
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
                Advance::NeedsBytes => {
                    if self.receive().await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Advance::Again => {}
                Advance::Done => break,
            }
        }
        let agreed = TlsRecord {
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            version: connection.protocol_version().map(|version| format!("{version:?}")).unwrap_or_default(),
            server_name: server_name.unwrap_or_default(),
            alpn: connection.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
            client_certificate: connection.peer_certificates().is_some(),
        };
        let (secrets, kernel) = connection.dangerous_into_kernel_connection().map_err(io::Error::other)?;
        self.tls = Some(Records::new(kernel, secrets)?);
        Ok(agreed)
    }

    fn advance(&mut self, connection: &mut UnbufferedServerConnection) -> io::Result<Advance> {
        let handshaking = connection.is_handshaking();
        let UnbufferedStatus { mut discard, state, .. } = connection.process_tls_records(&mut self.incoming);
        let advance = match state {
            Err(error) => Advance::Failed(Vec::new(), error.to_string()),
            Ok(ConnectionState::EncodeTlsData(mut encode)) => {
                let mut bytes = Vec::new();
                let needed = match encode.encode(&mut bytes) {
                    Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
                        required_size
                    }
                    _ => 0,
                };
                bytes.resize(needed, 0);
                let len = encode.encode(&mut bytes).map_err(io::Error::other)?;
                bytes.truncate(len);
                Advance::Write(bytes)
            }
            Ok(ConnectionState::TransmitTlsData(transmit)) => {
                transmit.done();
                Advance::Again
            }
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    let record = record.map_err(io::Error::other)?;
                    discard += record.discard;
                    self.early.extend_from_slice(record.payload);
                }
                Advance::Again
            }
            Ok(ConnectionState::WriteTraffic(_)) if !handshaking => Advance::Done,
            Ok(ConnectionState::WriteTraffic(_)) => Advance::Again,
            Ok(ConnectionState::BlockedHandshake) => Advance::NeedsBytes,
            Ok(_) => Advance::Failed(Vec::new(), "the peer closed during the handshake".into()),
        };
        self.incoming.drain(..discard);
        Ok(match advance {
            Advance::Failed(_, error) => Advance::Failed(alert_of(connection), error),
            other => other,
        })
    }

    async fn receive(&mut self) -> io::Result<usize> {
        self.incoming.reserve(16 << 10);
        let got = self.tcp.read_buf(&mut self.incoming).await?;
        self.bytes_in += got as u64;
        Ok(got)
    }

    /// Waits for the next application bytes and appends them. Safe to drop half-way: nothing read is lost.
    pub(super) async fn read(&mut self, into: &mut Vec<u8>) -> Read {
        if !self.early.is_empty() {
            into.append(&mut self.early);
            return Read::Bytes;
        }
        loop {
            match self.open(into).await {
                Ok(Some(read)) => return read,
                Ok(None) => {}
                Err(error) => return Read::Ended(end_of(&error)),
            }
            match self.receive().await {
                Ok(0) => return Read::Ended(End::PeerFin { close_notify: self.close_notify_seen }),
                Ok(_) => {}
                Err(error) => return Read::Ended(end_of(&error)),
            }
        }
    }

    /// Moves what is complete out of `incoming`.
    async fn open(&mut self, into: &mut Vec<u8>) -> io::Result<Option<Read>> {
        let before = into.len();
        let Some(records) = &mut self.tls else {
            into.append(&mut self.incoming);
            return Ok((into.len() > before).then_some(Read::Bytes));
        };
        let mut answer = Vec::new();
        let mut taken = 0;
        let mut alert = None;
        while let Some((len, received)) =
            records.open(&mut self.incoming[taken..], &mut |bytes| into.extend_from_slice(bytes))?
        {
            taken += len;
            match received {
                Received::Bytes | Received::Nothing => {}
                Received::CloseNotify => self.close_notify_seen = true,
                Received::Alert(_) => alert = Some(Read::Ended(End::PeerAlert)),
                Received::KeyUpdate(asks) => {
                    self.key_updates_received += 1;
                    if asks {
                        records.key_update(false, &mut answer)?;
                    }
                }
            }
        }
        self.incoming.drain(..taken);
        if !answer.is_empty() {
            self.write_raw(&answer).await?;
        }
        Ok(alert.or((into.len() > before).then_some(Read::Bytes)))
    }

    /// Writes application bytes: one write of one buffer.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.release_held().await?;
        let Some(records) = &mut self.tls else { return self.write_raw(bytes).await };
        let mut out = Vec::with_capacity(bytes.len() + 64);
        records.seal(bytes, &mut out)?;
        self.write_raw(&out).await
    }

    /// Writes bytes under TLS.
    pub(super) async fn write_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.tcp.write_all(bytes).await?;
        self.bytes_out += bytes.len() as u64;
        Ok(())
    }

    /// Sends what was held back; records are numbered, so nothing may overtake it.
    pub(super) async fn release_held(&mut self) -> io::Result<bool> {
        let held = std::mem::take(&mut self.held);
        self.write_raw(&held).await?;
        Ok(!held.is_empty())
    }

    /// Sends so many tickets in one write.
    pub(super) async fn tickets(&mut self, count: usize) -> io::Result<()> {
        let first = self.tickets;
        self.tickets += count as u64;
        let range = first..self.tickets;
        self.records(|records, out| range.clone().try_for_each(|serial| records.ticket(serial, out))).await
    }

    pub(super) async fn key_update(&mut self, ask_for_theirs: bool) -> io::Result<()> {
        self.records(|records, out| records.key_update(ask_for_theirs, out)).await
    }

    pub(super) async fn alert(&mut self, description: u8) -> io::Result<()> {
        let level = if description == CLOSE_NOTIFY { 1 } else { 2 };
        self.records(|records, out| records.alert(level, description, out)).await
    }

    pub(super) async fn close_notify(&mut self) -> io::Result<()> {
        self.alert(CLOSE_NOTIFY).await
    }

    async fn records(
        &mut self,
        make: impl FnOnce(&mut Records, &mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        self.release_held().await?;
        let Some(records) = &mut self.tls else { return Ok(()) };
        let mut out = Vec::new();
        make(records, &mut out)?;
        self.write_raw(&out).await
    }

    /// FIN.
    pub(super) async fn fin(&mut self) -> io::Result<()> {
        self.tcp.shutdown().await
    }

    /// RST at the drop.
    pub(super) fn reset(self) {
        // An error means that the socket is gone already, which is what was wanted.
        socket2::SockRef::from(&self.tcp).set_linger(Some(Duration::ZERO)).ok();
    }
}

enum Advance {
    Write(Vec<u8>),
    NeedsBytes,
    Again,
    Done,
    Failed(Vec<u8>, String),
}

/// The alert that rustls has ready after an error.
fn alert_of(connection: &mut UnbufferedServerConnection) -> Vec<u8> {
    let mut nothing = [];
    let UnbufferedStatus { state: Ok(ConnectionState::EncodeTlsData(mut encode)), .. } =
        connection.process_tls_records(&mut nothing)
    else {
        return Vec::new();
    };
    let mut bytes = vec![0; 1024];
    let len = encode.encode(&mut bytes).unwrap_or(0);
    bytes.truncate(len);
    bytes
}

fn end_of(error: &io::Error) -> End {
    match error.kind() {
        io::ErrorKind::InvalidData => End::PeerAlert,
        _ => End::PeerReset,
    }
}
