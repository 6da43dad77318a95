//! What the scripted nsqd does: the usual, unless the test says otherwise.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::protocol::{self, Command};
use crate::certs::{Authority, Leaf};
use crate::gate::Gate;

/// Settings of a scripted nsqd.
pub struct NsqdOptions {
    /// The port; 0 takes a free one.
    pub port: u16,
    /// Merged over the usual answer to IDENTIFY (that of v1.3.0 at its defaults); `null` removes a field.
    pub identify: Value,
    /// Sends `_heartbeat_` at the interval that the client asked for (30 s if it did not).
    pub heartbeats: bool,
    /// The certificate for TLS; without one it answers `tls_v1: false`.
    pub certificate: Option<Leaf>,
    /// Clients must show a certificate of this authority.
    pub client_authority: Option<Authority>,
    /// Asked before each command is answered.
    pub react: React,
}

impl Default for NsqdOptions {
    fn default() -> Self {
        Self {
            port: 0,
            identify: json!({}),
            heartbeats: true,
            certificate: None,
            client_authority: None,
            react: React::usual(),
        }
    }
}

impl fmt::Debug for NsqdOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NsqdOptions")
            .field("port", &self.port)
            .field("identify", &self.identify)
            .finish_non_exhaustive()
    }
}

/// Chooses the answer to each command.
pub struct React(Box<dyn FnMut(&Arrived<'_>) -> Reaction + Send>);

impl React {
    /// What nsqd does.
    pub fn usual() -> Self {
        Self::new(|_| Reaction::Usual)
    }

    /// Whatever the closure chooses.
    pub fn new(choose: impl FnMut(&Arrived<'_>) -> Reaction + Send + 'static) -> Self {
        Self(Box::new(choose))
    }

    pub(super) fn choose(&mut self, arrived: &Arrived<'_>) -> Reaction {
        (self.0)(arrived)
    }
}

/// A command that has arrived.
#[derive(Clone, Copy, Debug)]
pub struct Arrived<'a> {
    /// Which connection, from 0 in the order of accepting.
    pub connection: u64,
    /// How many commands of the same name came before it, over all connections.
    pub nth: u64,
    /// The command.
    pub command: &'a Command,
}

/// What is done about a command.
#[derive(Clone, Debug)]
pub enum Reaction {
    /// What nsqd does.
    Usual,
    /// Nothing.
    Ignore,
    /// These acts in their order; [`Act::Usual`] among them stands for what nsqd does.
    Acts(Vec<Act>),
}

/// One act on one connection. Executed ones are counted under [`Act::name`].
#[derive(Clone, Debug)]
pub enum Act {
    /// The usual answer to the command (nothing when the test sends it by itself).
    Usual,
    /// Waits; later acts of this connection wait with it, reading goes on.
    Sleep(Duration),
    /// Waits at the gate.
    Gate(Gate),
    /// These bytes, which need not be a frame.
    Raw(Bytes),
    /// A response frame.
    Response(Bytes),
    /// An error frame, `E_FIN_FAILED FIN ... failed ID not in flight`.
    Error(String),
    /// A message, in flight from then on.
    Message {
        /// 16 bytes: [`super::id`].
        id: String,
        /// Counts deliveries, from 1.
        attempts: u16,
        /// The body.
        body: Bytes,
    },
    /// Forgets that the message is in flight, as nsqd does when its time is up: a FIN for it then fails.
    TimeOut(String),
    /// FIN; reading goes on.
    Fin,
    /// FIN, then waits up to a second for the client's.
    Close,
    /// Closes the socket at once, as when nsqd is killed.
    Drop,
    /// RST.
    Reset,
    /// Stops reading: the client's writes pile up.
    StopReading,
    /// Reads again.
    StartReading,
    /// Sends heartbeats or not.
    Heartbeats(bool),
}

impl Act {
    /// The response frame `OK`.
    pub fn ok() -> Self {
        Act::Response("OK".into())
    }

    /// A message.
    pub fn message(id: impl Into<String>, attempts: u16, body: impl Into<Bytes>) -> Self {
        Act::Message { id: id.into(), attempts, body: body.into() }
    }

    /// A message frame whose head claims this length, with no more than `sent` bytes behind the head.
    pub fn claimed_message(id: &str, claimed_body_len: u32, sent: usize) -> Self {
        let mut bytes = protocol::message_frame(id, 1, 0, &vec![b'x'; sent]);
        let size = claimed_body_len.wrapping_add(30);
        bytes[..4].copy_from_slice(&size.to_be_bytes());
        Act::Raw(bytes.into())
    }

    /// The name under which it is counted.
    pub fn name(&self) -> &'static str {
        match self {
            Act::Usual => "usual",
            Act::Sleep(_) => "sleep",
            Act::Gate(_) => "gate",
            Act::Raw(_) => "raw",
            Act::Response(_) => "response",
            Act::Error(_) => "error",
            Act::Message { .. } => "message",
            Act::TimeOut(_) => "time_out",
            Act::Fin => "fin",
            Act::Close => "close",
            Act::Drop => "drop",
            Act::Reset => "reset",
            Act::StopReading => "stop_reading",
            Act::StartReading => "start_reading",
            Act::Heartbeats(_) => "heartbeats",
        }
    }
}

/// The answer of nsqd v1.3.0 at its defaults to this IDENTIFY, with `changes` merged over it.
pub(super) fn identify_answer(request: &Value, tls: bool, changes: &Value) -> Value {
    let asked = |name: &str, default: i64| match request.get(name).and_then(Value::as_i64) {
        None | Some(0) => default,
        Some(value) => value,
    };
    let wants = |name: &str| request.get(name).and_then(Value::as_bool).unwrap_or(false);
    let mut answer = json!({
        "max_rdy_count": 2500,
        "version": "1.3.0",
        "max_msg_timeout": 900_000,
        "msg_timeout": asked("msg_timeout", 60_000),
        "tls_v1": tls && wants("tls_v1"),
        "deflate": wants("deflate"),
        "deflate_level": asked("deflate_level", 6),
        "max_deflate_level": 6,
        "snappy": wants("snappy"),
        "sample_rate": asked("sample_rate", 0),
        "auth_required": false,
        "output_buffer_size": asked("output_buffer_size", 16_384),
        "output_buffer_timeout": asked("output_buffer_timeout", 250),
    });
    let fields = answer.as_object_mut().expect("an object above");
    for (name, value) in changes.as_object().into_iter().flatten() {
        match value {
            Value::Null => drop(fields.remove(name)),
            value => drop(fields.insert(name.clone(), value.clone())),
        }
    }
    answer
}
