//! What became of one POST, as values that carry the decision. Nobody has to read a text to decide anything;
//! `Display` is one clear line for a person.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError};
use thiserror::Error;

use crate::codec::{AnswerHead, BadAnswer};

/// What became of one POST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What to do with the message.
    pub verdict: Verdict,
    /// The status of the answer, when there was a usable one.
    pub status: Option<u16>,
    /// Why it was not delivered; `None` when it was.
    pub cause: Option<Cause>,
    /// Whether the kernel took any byte of the request, so that the peer may have acted on it.
    pub bytes_taken: bool,
    /// How long the answer asks to leave the endpoint alone.
    pub retry_after: Option<Duration>,
}

/// What to do with the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The endpoint has it: finish.
    Delivered,
    /// The endpoint, the network or the time was at fault: try again later.
    Retry,
    /// The endpoint refuses this message: trying again is unlikely to help.
    Reject,
}

impl Verdict {
    /// The default policy: 2xx is delivered. 408, 425, 429, 5xx are passing troubles of the endpoint, and so is a 3xx,
    /// which says that its URL is configured wrongly and nothing about the message. Other 4xx are the message's fault.
    pub fn of_status(status: u16) -> Verdict {
        match status {
            200..=299 => Verdict::Delivered,
            408 | 425 | 429 => Verdict::Retry,
            400..=499 => Verdict::Reject,
            _ => Verdict::Retry,
        }
    }
}

impl Outcome {
    /// A usable answer came to a request of which the kernel took every byte (for a 2xx) or some (for any other).
    pub fn answered(head: &AnswerHead) -> Outcome {
        let verdict = Verdict::of_status(head.status);
        Outcome {
            verdict,
            status: Some(head.status),
            cause: (verdict != Verdict::Delivered).then_some(Cause::Status(head.status)),
            bytes_taken: true,
            retry_after: head.retry_after,
        }
    }

    /// No usable answer: retry.
    pub fn unanswered(cause: Cause, bytes_taken: bool) -> Outcome {
        Outcome { verdict: Verdict::Retry, status: None, cause: Some(cause), bytes_taken, retry_after: None }
    }

    /// A 2xx came, but the request did not leave in full, so nothing was delivered: retry.
    pub fn answered_before_body(head: &AnswerHead) -> Outcome {
        Outcome {
            verdict: Verdict::Retry,
            status: Some(head.status),
            cause: Some(Cause::AnsweredBeforeBody(head.status)),
            bytes_taken: true,
            retry_after: head.retry_after,
        }
    }
}

/// Why a message was not delivered. Large ones are shared behind a pointer, so that an outcome stays a few words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Cause {
    /// The endpoint answered, and not with a 2xx.
    #[error("the endpoint answered {0}")]
    Status(u16),
    /// Its name gave no address.
    #[error(transparent)]
    Lookup(#[from] LookupFailure),
    /// None of its addresses took a connection.
    #[error(transparent)]
    Connect(#[from] ConnectFailure),
    /// The TLS handshake failed, or the peer ended TLS with an alert.
    #[error(transparent)]
    Tls(#[from] TlsFailure),
    /// The request's time ran out.
    #[error("the deadline passed {0}")]
    Deadline(Phase),
    /// The peer sent something that is no answer.
    #[error(transparent)]
    BadAnswer(#[from] BadAnswer),
    /// The peer closed in good order (FIN or close_notify) before a byte of an answer.
    #[error("the endpoint closed the connection before it answered")]
    ClosedBeforeAnswer,
    /// The peer sent bytes on a new connection before a request was out.
    #[error("the endpoint sent something before it was asked")]
    SpokeFirst,
    /// The peer reset the connection before the answer's head was complete.
    #[error("the endpoint reset the connection before it answered")]
    Reset,
    /// Reading or writing failed in another way: the network is gone, the peer no longer acknowledges.
    #[error("the connection broke: {0}")]
    Broken(io::ErrorKind),
    /// A 2xx came, and then the connection ended before the whole request was sent.
    #[error("the endpoint answered {0} and broke off before it took the whole body")]
    AnsweredBeforeBody(u16),
    /// No file descriptor for a new connection.
    #[error(
        "no file descriptor left for a connection (raise the limit of open files, or lower the concurrency)"
    )]
    TooManyOpenFiles,
    /// The dial for it ended in a mistake of Posthaste's own.
    #[error("a mistake in Posthaste ended the dial; please report it with the log's panic")]
    DialPanicked,
    /// It was not sent, or not again: when it had a connection, its [`is_wanted`](crate::Request::is_wanted) said no.
    #[error("no longer wanted when it had a connection")]
    Unwanted,
    /// The endpoint was closed on this side before the request had a connection.
    #[error("shutting down")]
    Shutdown,
}

/// What was going on when the deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Waiting for a connection to become free, none being dialled for it.
    Place,
    /// Looking up the endpoint's name.
    Lookup,
    /// Connecting.
    Connect,
    /// In the TLS handshake.
    Handshake,
    /// Sending the request.
    Write,
    /// Waiting for the answer, or in the middle of its head.
    Head,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Place => "while waiting for a free connection",
            Phase::Lookup => "during the lookup of the endpoint's name",
            Phase::Connect => "while connecting",
            Phase::Handshake => "during the TLS handshake",
            Phase::Write => "while sending the request",
            Phase::Head => "while waiting for the answer",
        })
    }
}

/// A name gave no address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("lookup of {host} failed: {reason}")]
pub struct LookupFailure {
    /// The name.
    pub host: Arc<str>,
    /// The resolver's words.
    pub reason: Arc<str>,
}

/// None of an endpoint's addresses took a connection.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct ConnectFailure {
    /// Every address in the order tried, and how it failed.
    pub attempts: Arc<[(SocketAddr, io::ErrorKind)]>,
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("could not connect")?;
        for (at, (address, kind)) in self.attempts.iter().enumerate() {
            write!(f, "{} {address}: {kind}", if at == 0 { " to" } else { "," })?;
        }
        Ok(())
    }
}

/// Why TLS with the endpoint failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TlsFailure {
    /// The endpoint's certificate has expired.
    #[error("the endpoint's certificate has expired")]
    CertificateExpired,
    /// The endpoint's certificate is not valid yet: one of the two clocks is wrong.
    #[error("the endpoint's certificate is not valid yet (is this machine's clock right?)")]
    CertificateNotYetValid,
    /// The endpoint's certificate is for other names.
    #[error("the endpoint's certificate is for another name ({0})")]
    WrongName(Arc<str>),
    /// The endpoint's certificate was issued by nobody among the trusted roots.
    #[error(
        "the endpoint's certificate is not signed by a trusted root (a private CA needs its own CA file)"
    )]
    UnknownIssuer,
    /// The endpoint's certificate is revoked.
    #[error("the endpoint's certificate is revoked")]
    CertificateRevoked,
    /// The endpoint's certificate is not acceptable for another reason.
    #[error("the endpoint's certificate is not acceptable: {0}")]
    BadCertificate(Arc<str>),
    /// The endpoint wants a client certificate, or does not accept the one it got.
    #[error("the endpoint does not accept our client certificate, or wants one ({0:?})")]
    ClientCertificate(AlertDescription),
    /// The endpoint knows no such server name.
    #[error("the endpoint has no certificate for the server name we asked for")]
    ServerNameUnknown,
    /// No TLS version or cipher in common.
    #[error("no TLS version or cipher in common: {0}")]
    Incompatible(Arc<str>),
    /// What answered does not speak TLS.
    #[error("the endpoint does not speak TLS on this port")]
    NotTls,
    /// Another alert of the endpoint.
    #[error("the endpoint ended TLS with the alert {0:?}")]
    Alert(AlertDescription),
    /// The connection ended in the middle of the handshake.
    #[error("the endpoint ended the connection during the TLS handshake: {0}")]
    Ended(io::ErrorKind),
    /// Anything else that rustls refuses.
    #[error("TLS failed: {0}")]
    Other(Arc<str>),
}

impl TlsFailure {
    /// The failure inside an error that a TLS stream returned, or `None` when it is one of the socket's own.
    pub fn in_io_error(error: &io::Error) -> Option<TlsFailure> {
        Some(error.get_ref()?.downcast_ref::<rustls::Error>()?.into())
    }
}

impl From<&rustls::Error> for TlsFailure {
    fn from(error: &rustls::Error) -> TlsFailure {
        match error {
            rustls::Error::InvalidCertificate(refusal) => of_certificate(refusal),
            rustls::Error::AlertReceived(alert) => of_alert(*alert),
            rustls::Error::InvalidMessage(_) => TlsFailure::NotTls,
            rustls::Error::PeerIncompatible(what) => TlsFailure::Incompatible(format!("{what:?}").into()),
            other => TlsFailure::Other(other.to_string().into()),
        }
    }
}

fn of_certificate(refusal: &CertificateError) -> TlsFailure {
    use CertificateError as Refusal;
    match refusal {
        Refusal::Expired | Refusal::ExpiredContext { .. } => TlsFailure::CertificateExpired,
        Refusal::NotValidYet | Refusal::NotValidYetContext { .. } => TlsFailure::CertificateNotYetValid,
        Refusal::NotValidForName | Refusal::NotValidForNameContext { .. } => {
            TlsFailure::WrongName(refusal.to_string().into())
        }
        Refusal::UnknownIssuer => TlsFailure::UnknownIssuer,
        Refusal::Revoked => TlsFailure::CertificateRevoked,
        other => TlsFailure::BadCertificate(other.to_string().into()),
    }
}

/// An alert about a certificate can only be about ours: the endpoint got no other.
fn of_alert(alert: AlertDescription) -> TlsFailure {
    match alert {
        AlertDescription::CertificateRequired
        | AlertDescription::NoCertificate
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied => TlsFailure::ClientCertificate(alert),
        AlertDescription::UnrecognisedName => TlsFailure::ServerNameUnknown,
        AlertDescription::ProtocolVersion | AlertDescription::InsufficientSecurity => {
            TlsFailure::Incompatible(format!("{alert:?}").into())
        }
        other => TlsFailure::Alert(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Framing;

    #[test]
    fn the_default_policy() {
        for (statuses, verdict) in [
            (&[200, 201, 202, 204, 299][..], Verdict::Delivered),
            (&[300, 301, 302, 304, 307, 308, 408, 425, 429, 500, 501, 502, 503, 504, 599], Verdict::Retry),
            (&[400, 401, 403, 404, 409, 410, 413, 415, 422, 499], Verdict::Reject),
        ] {
            for &status in statuses {
                assert_eq!(Verdict::of_status(status), verdict, "{status}");
            }
        }
    }

    #[test]
    fn an_answer_becomes_an_outcome() {
        let retry_after = Some(Duration::from_secs(3));
        let head = |status| AnswerHead { status, framing: Framing::None, close: None, retry_after };
        let delivered = Outcome::answered(&head(202));
        assert_eq!(
            (delivered.verdict, delivered.status, delivered.cause),
            (Verdict::Delivered, Some(202), None)
        );
        let busy = Outcome::answered(&head(429));
        assert_eq!(
            (busy.verdict, busy.cause, busy.retry_after),
            (Verdict::Retry, Some(Cause::Status(429)), retry_after)
        );
        let early = Outcome::answered_before_body(&head(200));
        assert_eq!((early.verdict, early.cause), (Verdict::Retry, Some(Cause::AnsweredBeforeBody(200))));
        let broken = Outcome::unanswered(BadAnswer::HeadCut.into(), true);
        assert_eq!((broken.verdict, broken.status), (Verdict::Retry, None));
    }

    #[test]
    fn tls_failures_are_told_apart() {
        use rustls::Error;
        let cases = [
            (Error::InvalidCertificate(CertificateError::Expired), TlsFailure::CertificateExpired),
            (Error::InvalidCertificate(CertificateError::NotValidYet), TlsFailure::CertificateNotYetValid),
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), TlsFailure::UnknownIssuer),
            (Error::InvalidCertificate(CertificateError::Revoked), TlsFailure::CertificateRevoked),
            (
                Error::AlertReceived(AlertDescription::CertificateRequired),
                TlsFailure::ClientCertificate(AlertDescription::CertificateRequired),
            ),
            (Error::AlertReceived(AlertDescription::UnrecognisedName), TlsFailure::ServerNameUnknown),
            (
                Error::AlertReceived(AlertDescription::InternalError),
                TlsFailure::Alert(AlertDescription::InternalError),
            ),
            (Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType), TlsFailure::NotTls),
        ];
        for (error, expected) in cases {
            assert_eq!(TlsFailure::from(&error), expected);
            assert_eq!(TlsFailure::in_io_error(&io::Error::other(error)), Some(expected));
        }
        let name = Error::InvalidCertificate(CertificateError::NotValidForName);
        assert!(matches!(TlsFailure::from(&name), TlsFailure::WrongName(_)));
        assert_eq!(TlsFailure::in_io_error(&io::ErrorKind::ConnectionReset.into()), None);
    }

    #[test]
    fn a_cause_is_one_clear_line() {
        let address = |text: &str| text.parse().expect("a valid address");
        let attempts = [
            (address("127.0.0.1:1"), io::ErrorKind::ConnectionRefused),
            (address("[::1]:1"), io::ErrorKind::TimedOut),
        ];
        let cause = Cause::from(ConnectFailure { attempts: Arc::new(attempts) });
        assert_eq!(
            cause.to_string(),
            "could not connect to 127.0.0.1:1: connection refused, [::1]:1: timed out"
        );
        assert_eq!(
            Cause::Deadline(Phase::Head).to_string(),
            "the deadline passed while waiting for the answer"
        );
    }

    /// It is moved several times per message.
    #[test]
    fn an_outcome_is_small() {
        assert!(size_of::<Outcome>() <= 80, "{}", size_of::<Outcome>());
    }
}
