//! The TLS record layer after the handshake.
//!
//! rustls makes the handshake and hands over the keys; the records are made here, because rustls' server cannot send a session
//! ticket later, a KeyUpdate on an idle connection, or an alert of the test's choice, and these are the faults to be injected.

use std::io;

use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, Iv, MessageDecrypter, MessageEncrypter, OutboundChunks,
    OutboundPlainMessage,
};
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{ConnectionTrafficSecrets, ContentType, ProtocolVersion, SupportedCipherSuite};

/// Bytes of plaintext in one record, RFC 8446 section 5.1.
const RECORD_MAX: usize = 16 << 10;
const HEADER: usize = 5;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// What a received record was.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// Application bytes were appended to the caller's buffer.
    Bytes,
    CloseNotify,
    Alert(u8),
    /// The peer changed its key; with `true` it asks for ours, and [`Records::key_update`] must be sent.
    KeyUpdate(bool),
    /// A record without meaning for us (an empty one).
    Nothing,
}

pub(super) struct Records {
    kernel: KernelConnection<ServerConnectionData>,
    sender: Box<dyn MessageEncrypter>,
    send_seq: u64,
    receiver: Box<dyn MessageDecrypter>,
    receive_seq: u64,
}

impl Records {
    pub(super) fn new(
        kernel: KernelConnection<ServerConnectionData>,
        secrets: rustls::ExtractedSecrets,
    ) -> io::Result<Self> {
        let suite = kernel.negotiated_cipher_suite();
        let (send_seq, send) = secrets.tx;
        let (receive_seq, receive) = secrets.rx;
        let mut sender = encrypter(suite, send);
        // The provider's sealing key derives its nonce check from the first nonce it sees and takes that for number 0, so the
        // numbers used up by the handshake are spent on records that nobody gets.
        for seq in 0..send_seq {
            sender.encrypt(plain(ContentType::ApplicationData, b"-"), seq).map_err(io::Error::other)?;
        }
        Ok(Self { kernel, sender, send_seq, receiver: decrypter(suite, receive), receive_seq })
    }

    fn tls13(&self) -> bool {
        self.kernel.protocol_version() == ProtocolVersion::TLSv1_3
    }

    /// Appends the records of these application bytes to `out`.
    pub(super) fn seal(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        for piece in bytes.chunks(RECORD_MAX) {
            self.seal_record(ContentType::ApplicationData, piece, out)?;
        }
        Ok(())
    }

    fn seal_record(&mut self, kind: ContentType, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let record = self.sender.encrypt(plain(kind, bytes), self.send_seq).map_err(io::Error::other)?;
        self.send_seq += 1;
        out.extend_from_slice(&record.encode());
        Ok(())
    }

    /// An alert: level (1 warning, 2 fatal) and description, RFC 8446 section 6.
    pub(super) fn alert(&mut self, level: u8, description: u8, out: &mut Vec<u8>) -> io::Result<()> {
        self.seal_record(ContentType::Alert, &[level, description], out)
    }

    /// NewSessionTicket, RFC 8446 section 4.6.1: good for an hour, and known to no server.
    pub(super) fn ticket(&mut self, serial: u64, out: &mut Vec<u8>) -> io::Result<()> {
        self.only_in_tls13("a ticket after the handshake")?;
        let ticket: Vec<u8> = (0..64).map(|at| (serial as u8).wrapping_mul(31) ^ at).collect();
        let mut body = 3600u32.to_be_bytes().to_vec();
        body.extend_from_slice(&0x1234_5678u32.to_be_bytes());
        body.push(8);
        body.extend_from_slice(&serial.to_be_bytes());
        body.extend_from_slice(&(ticket.len() as u16).to_be_bytes());
        body.extend_from_slice(&ticket);
        body.extend_from_slice(&[0, 0]);
        let mut message = vec![NEW_SESSION_TICKET, 0, 0, body.len() as u8];
        message.extend_from_slice(&body);
        self.seal_record(ContentType::Handshake, &message, out)
    }

    /// KeyUpdate, RFC 8446 section 4.6.3; everything sent after it is under the new key.
    pub(super) fn key_update(&mut self, ask_for_theirs: bool, out: &mut Vec<u8>) -> io::Result<()> {
        self.only_in_tls13("KeyUpdate")?;
        let message = [KEY_UPDATE, 0, 0, 1, u8::from(ask_for_theirs)];
        self.seal_record(ContentType::Handshake, &message, out)?;
        let (seq, secret) = self.kernel.update_tx_secret().map_err(io::Error::other)?;
        self.sender = encrypter(self.kernel.negotiated_cipher_suite(), secret);
        self.send_seq = seq;
        Ok(())
    }

    fn only_in_tls13(&self, what: &str) -> io::Result<()> {
        match self.tls13() {
            true => Ok(()),
            false => Err(io::Error::other(format!("{what} exists only in TLS 1.3"))),
        }
    }

    /// Opens the record at the front of `incoming`, if it is complete, and says how many bytes it took.
    pub(super) fn open(
        &mut self,
        incoming: &mut [u8],
        application: &mut impl FnMut(&[u8]),
    ) -> io::Result<Option<(usize, Received)>> {
        let Some(header) = incoming.first_chunk::<HEADER>() else { return Ok(None) };
        let kind = ContentType::from(header[0]);
        let len = HEADER + usize::from(u16::from_be_bytes([header[3], header[4]]));
        if len > HEADER + RECORD_MAX + 256 {
            return Err(not_tls("a record over the limit"));
        }
        let Some(record) = incoming.get_mut(HEADER..len) else { return Ok(None) };
        // A compatibility ChangeCipherSpec may follow the handshake in TLS 1.3 and has no meaning.
        if self.tls13() && kind == ContentType::ChangeCipherSpec {
            return Ok(Some((len, Received::Nothing)));
        }
        let opaque = InboundOpaqueMessage::new(kind, ProtocolVersion::TLSv1_2, record);
        let message = self
            .receiver
            .decrypt(opaque, self.receive_seq)
            .map_err(|_| not_tls("a record that does not open"))?;
        self.receive_seq += 1;
        let received = match (message.typ, message.payload) {
            (ContentType::ApplicationData, []) => Received::Nothing,
            (ContentType::ApplicationData, bytes) => {
                application(bytes);
                Received::Bytes
            }
            (ContentType::Alert, [_, 0]) => Received::CloseNotify,
            (ContentType::Alert, [_, description]) => Received::Alert(*description),
            (ContentType::Handshake, [KEY_UPDATE, 0, 0, 1, ask @ 0..=1]) => Received::KeyUpdate(*ask == 1),
            (kind, _) => return Err(not_tls(&format!("an unexpected {kind:?} record"))),
        };
        if let Received::KeyUpdate(_) = received {
            let (seq, secret) = self.kernel.update_rx_secret().map_err(io::Error::other)?;
            self.receiver = decrypter(self.kernel.negotiated_cipher_suite(), secret);
            self.receive_seq = seq;
        }
        Ok(Some((len, received)))
    }
}

fn not_tls(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

// The record version on the wire is 1.2 for both protocols; the encrypters see to the rest.
fn plain(kind: ContentType, bytes: &[u8]) -> OutboundPlainMessage<'_> {
    OutboundPlainMessage {
        typ: kind,
        version: ProtocolVersion::TLSv1_2,
        payload: OutboundChunks::Single(bytes),
    }
}

fn parts(secret: ConnectionTrafficSecrets) -> (AeadKey, Iv) {
    match secret {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
        _ => unreachable!("rustls has three kinds of traffic secrets"),
    }
}

// TLS 1.2 splits the 12 bytes into a fixed part (4 for GCM, 12 for ChaCha20) and an explicit rest.
fn fixed_iv_len(suite: &rustls::Tls12CipherSuite) -> usize {
    suite.aead_alg.key_block_shape().fixed_iv_len
}

fn encrypter(suite: SupportedCipherSuite, secret: ConnectionTrafficSecrets) -> Box<dyn MessageEncrypter> {
    let (key, iv) = parts(secret);
    match suite {
        SupportedCipherSuite::Tls13(suite) => suite.aead_alg.encrypter(key, iv),
        SupportedCipherSuite::Tls12(suite) => {
            let (fixed, explicit) = iv.as_ref().split_at(fixed_iv_len(suite));
            suite.aead_alg.encrypter(key, fixed, explicit)
        }
    }
}

fn decrypter(suite: SupportedCipherSuite, secret: ConnectionTrafficSecrets) -> Box<dyn MessageDecrypter> {
    let (key, iv) = parts(secret);
    match suite {
        SupportedCipherSuite::Tls13(suite) => suite.aead_alg.decrypter(key, iv),
        SupportedCipherSuite::Tls12(suite) => {
            suite.aead_alg.decrypter(key, &iv.as_ref()[..fixed_iv_len(suite)])
        }
    }
}
