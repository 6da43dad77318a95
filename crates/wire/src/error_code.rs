//! Error frames: a code of nsqd's, and text behind it.
//!
//! The text on the wire is `CODE detail` (only `E_BAD_PROTOCOL` stands alone), so it never equals a code.
//! Three codes leave the connection as it was; after any other nsqd closes it, so a code that is not known
//! here counts as one of those.

use std::fmt;

use crate::message::MessageId;
use crate::printable::printable;

macro_rules! error_codes {
    ($($(#[$doc:meta])+ $variant:ident = $text:literal,)+) => {
        /// Every error code of nsqd's TCP protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])+ $variant,)+
            /// A code that is not in this list: fatal.
            Unknown,
        }

        impl ErrorCode {
            /// Every code but [`ErrorCode::Unknown`].
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$variant,)+];

            /// The code as it stands on the wire; empty for [`ErrorCode::Unknown`].
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Unknown => "",
                }
            }

            /// The code that `text` is, or [`ErrorCode::Unknown`].
            pub fn from_text(text: &[u8]) -> Self {
                $(if text == $text.as_bytes() {
                    return Self::$variant;
                })+
                Self::Unknown
            }
        }
    };
}

error_codes! {
    /// Unknown command, one that the connection's state forbids, bad parameters, RDY out of range, or TLS
    /// required.
    Invalid = "E_INVALID",
    /// The magic at the front of the connection was wrong.
    BadProtocol = "E_BAD_PROTOCOL",
    /// The body of IDENTIFY, AUTH or MPUB is empty, too large, or says what it must not.
    BadBody = "E_BAD_BODY",
    /// A message to publish is empty or too large.
    BadMessage = "E_BAD_MESSAGE",
    /// The topic's name breaks the rule of [`name`](crate::name).
    BadTopic = "E_BAD_TOPIC",
    /// The channel's name breaks the rule of [`name`](crate::name).
    BadChannel = "E_BAD_CHANNEL",
    /// What IDENTIFY asked for cannot be had together, or an upgrade failed.
    IdentifyFailed = "E_IDENTIFY_FAILED",
    /// AUTH must come before this command.
    AuthFirst = "E_AUTH_FIRST",
    /// The auth server refused the secret, or could not be asked.
    AuthFailed = "E_AUTH_FAILED",
    /// AUTH was sent to an nsqd that has no auth server.
    AuthDisabled = "E_AUTH_DISABLED",
    /// nsqd could not answer AUTH.
    AuthError = "E_AUTH_ERROR",
    /// The secret is good, but not for this topic or channel.
    Unauthorized = "E_UNAUTHORIZED",
    /// The topic is being deleted, or the channel has all the consumers that it may have.
    SubFailed = "E_SUB_FAILED",
    /// PUB was not stored.
    PubFailed = "E_PUB_FAILED",
    /// MPUB was not stored, or only in part.
    MpubFailed = "E_MPUB_FAILED",
    /// DPUB was not stored.
    DpubFailed = "E_DPUB_FAILED",
    /// Not fatal: the message of a FIN is not in flight on this connection.
    FinFailed = "E_FIN_FAILED",
    /// Not fatal: the message of a REQ is not in flight on this connection.
    ReqFailed = "E_REQ_FAILED",
    /// Not fatal: the message of a TOUCH is not in flight on this connection.
    TouchFailed = "E_TOUCH_FAILED",
}

impl ErrorCode {
    /// Whether nsqd closes the connection behind it: all but `E_FIN_FAILED`, `E_REQ_FAILED` and
    /// `E_TOUCH_FAILED`.
    pub const fn is_fatal(self) -> bool {
        self.failed_command().is_none()
    }

    /// The command that a code which is not fatal answers, as its detail begins.
    const fn failed_command(self) -> Option<&'static str> {
        match self {
            Self::FinFailed => Some("FIN"),
            Self::ReqFailed => Some("REQ"),
            Self::TouchFailed => Some("TOUCH"),
            _ => None,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(if *self == Self::Unknown { "unknown error" } else { self.as_str() })
    }
}

/// An error frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    /// The code: decide by this.
    pub code: ErrorCode,
    /// The text behind the code, or all of it when the code is not known; printable, bounded, for people only.
    pub detail: String,
    /// The message that a FIN, REQ or TOUCH failed for.
    pub id: Option<MessageId>,
}

impl ServerError {
    /// Reads the payload of an error frame. Every payload is one.
    pub fn parse(payload: &[u8]) -> Self {
        let end = payload.iter().position(|byte| *byte == b' ').unwrap_or(payload.len());
        let code = ErrorCode::from_text(&payload[..end]);
        if code == ErrorCode::Unknown {
            return Self { code, detail: printable(payload), id: None };
        }
        let detail = payload.get(end + 1..).unwrap_or_default();
        Self { code, detail: printable(detail), id: failed_id(code, detail) }
    }

    /// As [`ErrorCode::is_fatal`].
    pub fn is_fatal(&self) -> bool {
        self.code.is_fatal()
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.detail.as_str() {
            "" => self.code.fmt(f),
            detail => write!(f, "{} {detail}", self.code),
        }
    }
}

impl std::error::Error for ServerError {}

/// The id in `FIN 18a4199d98e69000 failed ...`. nsqd says it only in the text.
fn failed_id(code: ErrorCode, detail: &[u8]) -> Option<MessageId> {
    let after = detail.strip_prefix(code.failed_command()?.as_bytes())?.strip_prefix(b" ")?;
    let (id, rest) = after.split_first_chunk()?;
    matches!(rest.first(), None | Some(b' ')).then_some(MessageId(*id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_three_codes_are_not_fatal() {
        let living: Vec<_> = ErrorCode::ALL.iter().filter(|code| !code.is_fatal()).collect();
        assert_eq!(living, [&ErrorCode::FinFailed, &ErrorCode::ReqFailed, &ErrorCode::TouchFailed]);
        assert!(ErrorCode::Unknown.is_fatal());
    }

    #[test]
    fn every_code_is_read_with_and_without_detail() {
        for code in ErrorCode::ALL {
            let bare = ServerError::parse(code.as_str().as_bytes());
            assert_eq!((bare.code, bare.detail.as_str()), (*code, ""));
            let full = ServerError::parse(format!("{code} some detail").as_bytes());
            assert_eq!((full.code, full.detail.as_str()), (*code, "some detail"));
        }
    }

    #[test]
    fn the_failed_message_is_found() {
        let id = Some(MessageId(*b"18a4199d98e69000"));
        for text in [
            "E_FIN_FAILED FIN 18a4199d98e69000 failed ID not in flight",
            "E_REQ_FAILED REQ 18a4199d98e69000 failed client does not own message",
            "E_TOUCH_FAILED TOUCH 18a4199d98e69000",
        ] {
            let error = ServerError::parse(text.as_bytes());
            assert_eq!((error.id, error.is_fatal()), (id, false), "{text}");
            assert_eq!(error.to_string(), text);
        }
        for text in [
            "E_FIN_FAILED REQ 18a4199d98e69000 failed",
            "E_FIN_FAILED FIN 18a4199d98e69000x failed",
            "E_FIN_FAILED FIN 18a4199d",
            "E_INVALID FIN 18a4199d98e69000 failed",
        ] {
            assert_eq!(ServerError::parse(text.as_bytes()).id, None, "{text}");
        }
    }

    #[test]
    fn an_unknown_code_keeps_its_whole_text_and_is_fatal() {
        let error = ServerError::parse(b"E_NEW thing\nhappened");
        assert_eq!((error.code, error.is_fatal()), (ErrorCode::Unknown, true));
        assert_eq!(error.to_string(), "unknown error E_NEW thing\\nhappened");
        assert_eq!(ServerError::parse(b"").to_string(), "unknown error");
    }
}
