//! Client to server: commands.
//!
//! A connection begins with [`MAGIC_V2`]; then each command is a line of words with single spaces between
//! them, and for some a body behind its length. [`Command::write`] writes them, [`parse`] reads them for a
//! server.
//!
//! | command | body | answered by |
//! |---|---|---|
//! | `IDENTIFY` | JSON | JSON, or `OK` without `feature_negotiation`; nothing may be sent behind it before that |
//! | `AUTH` | the secret | JSON |
//! | `SUB topic channel` | | `OK` |
//! | `RDY count` | | nothing |
//! | `FIN id`, `REQ id ms`, `TOUCH id` | | nothing, or an error that is not fatal |
//! | `CLS` | | `CLOSE_WAIT` |
//! | `NOP` | | nothing |
//! | `PUB topic`, `DPUB topic ms` | the message | `OK` |
//! | `MPUB topic` | a count, and each message behind its length | `OK` |

mod bodies;
mod error;
mod parse;
mod write;

use std::fmt;

pub use bodies::{Bodies, BodiesIter};
pub use error::{CommandError, Parameter};
pub use parse::{Limits, Parse, line, parse};
pub use write::{write_fin, write_mpub, write_req, write_touch};

use crate::message::MessageId;

/// The first four bytes that a client sends.
pub const MAGIC_V2: &[u8; 4] = b"  V2";

/// Longest command line in bytes, line end included: nsqd's read buffer.
pub const LINE_BYTES_MAX: usize = 16 * 1024;

/// The commands of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is explained at its Command")]
pub enum CommandName {
    Identify,
    Auth,
    Sub,
    Rdy,
    Fin,
    Req,
    Touch,
    Cls,
    Nop,
    Pub,
    Mpub,
    Dpub,
}

impl CommandName {
    /// The command as its line begins.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identify => "IDENTIFY",
            Self::Auth => "AUTH",
            Self::Sub => "SUB",
            Self::Rdy => "RDY",
            Self::Fin => "FIN",
            Self::Req => "REQ",
            Self::Touch => "TOUCH",
            Self::Cls => "CLS",
            Self::Nop => "NOP",
            Self::Pub => "PUB",
            Self::Mpub => "MPUB",
            Self::Dpub => "DPUB",
        }
    }

    /// The command that a line begins with, if there is one of this name.
    pub fn from_word(word: &[u8]) -> Option<Self> {
        // The frequent ones first.
        Some(match word {
            b"FIN" => Self::Fin,
            b"PUB" => Self::Pub,
            b"REQ" => Self::Req,
            b"TOUCH" => Self::Touch,
            b"RDY" => Self::Rdy,
            b"NOP" => Self::Nop,
            b"MPUB" => Self::Mpub,
            b"DPUB" => Self::Dpub,
            b"SUB" => Self::Sub,
            b"CLS" => Self::Cls,
            b"AUTH" => Self::Auth,
            b"IDENTIFY" => Self::Identify,
            _ => return None,
        })
    }
}

impl fmt::Display for CommandName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A command with what belongs to it, borrowed.
///
/// Topics and channels must be names that [`name::check`](crate::name::check) takes: [`parse`] gives no
/// others, and a writer takes them from a [`TopicName`](crate::TopicName) or
/// [`ChannelName`](crate::ChannelName).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// Says who the client is and what it wishes; before SUB.
    Identify {
        /// JSON: an [`IdentifyRequest`](crate::IdentifyRequest).
        body: &'a [u8],
    },
    /// Proves who the client is; after IDENTIFY, before SUB or the first publish.
    Auth {
        /// What the auth server knows the client by. `Debug` shows its length only.
        secret: &'a [u8],
    },
    /// Joins a channel, once per connection.
    Sub {
        /// The topic.
        topic: &'a str,
        /// Its channel.
        channel: &'a str,
    },
    /// How many messages may be in flight on this connection: a standing ceiling, not a credit.
    Rdy(u32),
    /// The message is done with.
    Fin(MessageId),
    /// The message is to be given out again.
    Req {
        /// Which one.
        id: MessageId,
        /// Not before so many milliseconds. nsqd's limit is 3,600,000 unless configured; far above it some
        /// versions overflow to 0.
        delay_ms: u64,
    },
    /// The message's time starts anew, up to nsqd's `--max-msg-timeout` from its delivery.
    Touch(MessageId),
    /// No more messages, please; once, and only after SUB.
    Cls,
    /// Nothing: answers a heartbeat.
    Nop,
    /// Publishes one message.
    Pub {
        /// The topic.
        topic: &'a str,
        /// The message: never empty, at most nsqd's `--max-msg-size`.
        body: &'a [u8],
    },
    /// Publishes several messages.
    Mpub {
        /// The topic.
        topic: &'a str,
        /// The messages, as the wire has them. To publish a list, see [`write_mpub`].
        bodies: Bodies<'a>,
    },
    /// Publishes one message that is to wait.
    Dpub {
        /// The topic.
        topic: &'a str,
        /// For how many milliseconds. Over nsqd's limit (3,600,000 unless configured) it is a fatal error,
        /// unlike in REQ.
        delay_ms: u64,
        /// The message.
        body: &'a [u8],
    },
}

impl Command<'_> {
    /// Which one it is.
    pub const fn name(&self) -> CommandName {
        match self {
            Self::Identify { .. } => CommandName::Identify,
            Self::Auth { .. } => CommandName::Auth,
            Self::Sub { .. } => CommandName::Sub,
            Self::Rdy(_) => CommandName::Rdy,
            Self::Fin(_) => CommandName::Fin,
            Self::Req { .. } => CommandName::Req,
            Self::Touch(_) => CommandName::Touch,
            Self::Cls => CommandName::Cls,
            Self::Nop => CommandName::Nop,
            Self::Pub { .. } => CommandName::Pub,
            Self::Mpub { .. } => CommandName::Mpub,
            Self::Dpub { .. } => CommandName::Dpub,
        }
    }
}

/// Bodies can be large and secrets must not show: lengths stand for both.
impl fmt::Debug for Command<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().as_str())?;
        match self {
            Self::Sub { topic, channel } => write!(f, " {topic:?} {channel:?}"),
            Self::Rdy(count) => write!(f, " {count}"),
            Self::Fin(id) | Self::Touch(id) => write!(f, " {id}"),
            Self::Req { id, delay_ms } => write!(f, " {id} {delay_ms}"),
            Self::Cls | Self::Nop => Ok(()),
            Self::Identify { body } | Self::Auth { secret: body } => write!(f, " [{} bytes]", body.len()),
            Self::Pub { topic, body } => write!(f, " {topic:?} [{} bytes]", body.len()),
            Self::Mpub { topic, bodies } => write!(f, " {topic:?} [{} messages]", bodies.len()),
            Self::Dpub { topic, delay_ms, body } => write!(f, " {topic:?} {delay_ms} [{} bytes]", body.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret_and_no_body() {
        assert_eq!(format!("{:?}", Command::Auth { secret: b"hunter2" }), "AUTH [7 bytes]");
        assert_eq!(format!("{:?}", Command::Pub { topic: "t", body: b"abc" }), "PUB \"t\" [3 bytes]");
    }
}
