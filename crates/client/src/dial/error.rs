//! Why a dial failed: at which step, and whose part it is to change something.

use std::fmt;
use std::io;
use std::time::Duration;

use wire::ServerError;
use wire::frame::FrameError;
use wire::identify::JsonError;

use crate::stream::ConnectError;
use crate::tls::{TlsFailure, tls_failure};

/// The steps of a dial, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Name lookup and TCP.
    Connect,
    /// Magic, IDENTIFY, and its answer.
    Identify,
    /// TLS handshake, and nsqd's `OK` through it.
    Tls,
    /// nsqd's `OK` through the compression.
    Compression,
    /// AUTH and its answer.
    Auth,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Step::Connect => "connect",
            Step::Identify => "IDENTIFY",
            Step::Tls => "TLS",
            Step::Compression => "compression",
            Step::Auth => "AUTH",
        })
    }
}

/// Why a dial failed.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// There is no TCP connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The dial was not done within `connect_timeout`.
    #[error("{step}: not done within {after:?}")]
    Timeout {
        /// The step that it stood at.
        step: Step,
        /// `connect_timeout`.
        after: Duration,
    },
    /// The network failed under a step.
    #[error("{step}: {source}")]
    Broken {
        /// The step.
        step: Step,
        /// What the system said.
        source: io::Error,
    },
    /// nsqd closed the connection in place of an answer.
    #[error("{step}: nsqd closed the connection without an answer")]
    Closed {
        /// The step.
        step: Step,
    },
    /// nsqd said no.
    #[error("{step}: nsqd answered {error}")]
    Refused {
        /// The step.
        step: Step,
        /// Its answer. For AUTH the text is left out where it quotes the secret.
        error: ServerError,
    },
    /// The peer does not speak the protocol.
    #[error("{step}: {what}")]
    Malformed {
        /// The step.
        step: Step,
        /// What is wrong.
        what: Malformed,
    },
    /// One of the two certificates is not good enough for the other side, or TLS failed in another way.
    #[error("{step}: {failure}")]
    Tls {
        /// The step: with TLS 1.3 a refused client certificate shows up only behind the handshake.
        step: Step,
        /// Whose certificate, and why.
        failure: TlsFailure,
    },
    /// TLS is set and nsqd does not offer it (it has no `--tls-cert`). Nothing is sent in clear instead.
    #[error("TLS: nsqd does not offer it, and without it nothing is sent")]
    TlsNotOffered,
    /// nsqd requires AUTH and there is no secret.
    #[error("AUTH: nsqd requires it, and no auth_secret is set")]
    AuthRequired,
}

/// What a peer that speaks the protocol would not send.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// No frame begins so.
    #[error(transparent)]
    Frame(FrameError),
    /// A message before SUB.
    #[error("a message came before any subscription")]
    Message,
    /// An answer to IDENTIFY that cannot be read.
    #[error("{0}")]
    Json(JsonError),
    /// An answer to AUTH that cannot be read; not shown, for it may quote the secret.
    #[error("the answer is not the JSON that was expected")]
    AuthJson,
    /// An answer other than `OK` to an upgrade.
    #[error("the answer is not OK")]
    NotOk,
}

/// Who can do something about a failed dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Our settings, or nsqd's, do not fit each other: it fails again until one of them is changed.
    Settings,
    /// The peer breaks the protocol.
    Peer,
    /// The network, or a peer that is down or overloaded: it may pass.
    Network,
}

impl DialError {
    /// What `error` is: a failure of TLS itself travels inside an `io::Error`.
    pub(super) fn broken(step: Step, error: io::Error) -> DialError {
        match tls_failure(&error) {
            Some(failure) => DialError::Tls { step, failure },
            None => DialError::Broken { step, source: error },
        }
    }

    /// The step that failed.
    pub fn step(&self) -> Step {
        match self {
            DialError::Connect(_) => Step::Connect,
            DialError::Timeout { step, .. }
            | DialError::Broken { step, .. }
            | DialError::Closed { step }
            | DialError::Refused { step, .. }
            | DialError::Malformed { step, .. }
            | DialError::Tls { step, .. } => *step,
            DialError::TlsNotOffered => Step::Tls,
            DialError::AuthRequired => Step::Auth,
        }
    }

    /// Who can do something about it.
    pub fn fault(&self) -> Fault {
        match self {
            DialError::Connect(ConnectError::Address { .. })
            | DialError::Refused { .. }
            | DialError::Tls { .. }
            | DialError::TlsNotOffered
            | DialError::AuthRequired => Fault::Settings,
            DialError::Malformed { .. } => Fault::Peer,
            DialError::Connect(_)
            | DialError::Timeout { .. }
            | DialError::Broken { .. }
            | DialError::Closed { .. } => Fault::Network,
        }
    }
}
