//! A connection to an nsqlookupd, protocol V1: a command is a line, perhaps with a body, and each is answered by a length and so many bytes.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::advertised::Advertised;
use crate::outbound::Outbound;
use crate::settings::NSQD_VERSION;

/// To dial, and for each command's answer: nsqd's own.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The longest answer that is believed. nsqlookupd's are under 1 KiB.
const ANSWER_BYTES_MAX: i32 = 64 * 1024;

const MAGIC_V1: &[u8] = b"  V1";

/// Why an nsqlookupd is not, or no longer, told of this node.
#[derive(Debug, thiserror::Error)]
pub(super) enum PeerError {
    /// It is not `host:port`.
    #[error("it is no host and port")]
    Address,
    /// No connection, or one that broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A command was not answered in time.
    #[error("no answer in {TIMEOUT:?}")]
    Late,
    /// A length that cannot be, or is too long.
    #[error("an answer of {0} bytes")]
    Length(i32),
    /// It refused a command.
    #[error("it answers {command:?} with {answer:?}")]
    Refused {
        /// The command's first line.
        command: String,
        /// What it said.
        answer: String,
    },
}

/// What it is told first.
#[derive(Serialize)]
struct Identify<'a> {
    broadcast_address: &'a str,
    hostname: &'a str,
    http_port: u16,
    tcp_port: u16,
    version: &'a str,
}

/// What it says of itself in return.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PeerIdentity {
    broadcast_address: String,
    http_port: u16,
}

impl PeerIdentity {
    /// Where its HTTP API is: `host:port`.
    pub(super) fn http_address(&self) -> Option<String> {
        let host = self.broadcast_address.as_str();
        match host.contains(':') {
            _ if host.is_empty() || self.http_port == 0 => None,
            true => Some(format!("[{host}]:{}", self.http_port)),
            false => Some(format!("{host}:{}", self.http_port)),
        }
    }
}

/// A connection.
pub(super) struct Connection(TcpStream);

impl Connection {
    /// Dials, and says who calls.
    pub(super) async fn open(
        address: &str,
        told: &Advertised,
        outbound: &Outbound,
    ) -> Result<(Self, PeerIdentity), PeerError> {
        let (host, port) = address.rsplit_once(':').ok_or(PeerError::Address)?;
        let port = port.parse().map_err(|_| PeerError::Address)?;
        let mut connection = Self(outbound.connect(host, port, Instant::now() + TIMEOUT).await?);
        let json = serde_json::to_vec(&Identify {
            broadcast_address: &told.broadcast_address,
            hostname: &told.hostname,
            http_port: told.broadcast_http_port,
            tcp_port: told.broadcast_tcp_port,
            version: NSQD_VERSION,
        });
        let json = json.expect("strings and numbers");
        let length = u32::try_from(json.len()).expect("five short fields").to_be_bytes();
        let answer = connection.exchange(&[MAGIC_V1, b"IDENTIFY\n", &length, &json].concat()).await?;
        let info = serde_json::from_slice(&answer).map_err(|_| refused(b"IDENTIFY", &answer))?;
        Ok((connection, info))
    }

    /// Says a command that is answered with `OK`.
    pub(super) async fn command(&mut self, command: &[u8]) -> Result<(), PeerError> {
        let answer = self.exchange(command).await?;
        if answer == b"OK"[..] { Ok(()) } else { Err(refused(command, &answer)) }
    }

    /// Waits for the other side to say something unasked, which can only be its end.
    pub(super) async fn ended(&self) -> PeerError {
        let mut byte = [0];
        match self.0.peek(&mut byte).await {
            Ok(0) => PeerError::Io(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => refused(b"", &byte),
            Err(error) => PeerError::Io(error),
        }
    }

    async fn exchange(&mut self, command: &[u8]) -> Result<Bytes, PeerError> {
        let exchanged = async {
            self.0.write_all(command).await?;
            let length = self.0.read_i32().await?;
            if !(0..=ANSWER_BYTES_MAX).contains(&length) {
                return Err(PeerError::Length(length));
            }
            let mut answer = vec![0; length as usize];
            self.0.read_exact(&mut answer).await?;
            Ok(answer.into())
        };
        timeout(TIMEOUT, exchanged).await.unwrap_or(Err(PeerError::Late))
    }
}

fn refused(command: &[u8], answer: &[u8]) -> PeerError {
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string().chars().take(200).collect();
    PeerError::Refused { command: text(command.trim_ascii_end()), answer: text(answer) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_nsqlookupd_is_found_where_it_says() {
        let found = |json: &str| serde_json::from_str::<PeerIdentity>(json).unwrap().http_address();
        let full =
            r#"{"tcp_port":4160,"http_port":4161,"version":"1.3.0","broadcast_address":"a","hostname":"b"}"#;
        assert_eq!(found(full).as_deref(), Some("a:4161"));
        assert_eq!(found(r#"{"http_port":4161,"broadcast_address":"::1"}"#).as_deref(), Some("[::1]:4161"));
        assert_eq!(found("{}"), None);
    }

    #[test]
    fn a_refusal_is_told_in_printable_text() {
        let text = refused(b"REGISTER t\n", b"E_INVALID \x00\n").to_string();
        assert_eq!(text, r#"it answers "REGISTER t" with "E_INVALID \\x00\\n""#);
    }
}
