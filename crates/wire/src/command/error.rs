//! Why bytes are not a command that a server takes.

use super::{CommandName, LINE_BYTES_MAX};
use crate::error_code::ErrorCode;
use crate::name::NameError;

/// What is wrong with a command. All of them are fatal: nsqd sends the error and closes, since a client whose
/// commands are not understood has another idea of the connection than the server. `Display` is the detail
/// for the frame, in nsqd's words and no others: `write_error(out, error.code(), &error.to_string())`. What
/// else is known, as a [`NameError`], is in the fields.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No line end within [`LINE_BYTES_MAX`]. nsqd closes without a word then.
    #[error("command line longer than {LINE_BYTES_MAX} bytes")]
    LineTooLong,
    /// A word that is no command.
    #[error("invalid command {0}")]
    UnknownCommand(
        /// The word, printable and bounded.
        String,
    ),
    /// Too few parameters, or, for AUTH, any.
    #[error("{command} {} number of {}", if .command.is_bare() { "invalid" } else { "insufficient" }, .command.parameters())]
    Parameters {
        /// Where they lack.
        command: CommandName,
    },
    /// A topic's name that breaks the rule.
    ///
    /// nsqd's text for MPUB holds the code a second time.
    #[error("{}{command} topic name \"{name}\" is not valid", if *.command == CommandName::Mpub { "E_BAD_TOPIC " } else { "" })]
    Topic {
        /// Where it stood.
        command: CommandName,
        /// The name, printable, quoted as Go quotes, and bounded.
        name: String,
        /// What is wrong with it.
        reason: NameError,
    },
    /// A channel's name that breaks the rule.
    #[error("SUB channel name \"{name}\" is not valid")]
    Channel {
        /// The name, printable, quoted as Go quotes, and bounded.
        name: String,
        /// What is wrong with it.
        reason: NameError,
    },
    /// An id that is not 16 bytes.
    #[error("invalid message ID")]
    MessageId,
    /// A parameter that is not decimal digits.
    #[error("{command} could not parse {parameter} {text}")]
    Number {
        /// Where it stood.
        command: CommandName,
        /// What it should have been.
        parameter: Parameter,
        /// The parameter, printable and bounded.
        text: String,
    },
    /// A count over what 32 bits hold; a server's own limit is lower still.
    #[error("RDY count {count} out of range")]
    RdyRange {
        /// The count; the highest there is stands for any above it.
        count: u64,
    },
    /// A body's length is zero or below.
    #[error("{command} invalid {}body size {size}", if .command.takes_message() { "message " } else { "" })]
    BodySize {
        /// Where it stood.
        command: CommandName,
        /// The length as it came.
        size: i32,
    },
    /// A body over the server's limit.
    #[error("{command} {} too big {size} > {max}", if .command.takes_message() { "message" } else { "body" })]
    BodyTooBig {
        /// Where it stood.
        command: CommandName,
        /// The length as it came.
        size: u32,
        /// The limit.
        max: u32,
    },
    /// An MPUB's count is zero or below, or more than its body can hold.
    #[error("MPUB invalid message count {count}")]
    MpubCount {
        /// The count as it came.
        count: i32,
    },
    /// A message of an MPUB is empty or has a length below zero.
    #[error("MPUB invalid message({index}) body size {size}")]
    MpubMessageSize {
        /// Which one, from 0.
        index: usize,
        /// The length as it came.
        size: i32,
    },
    /// A message of an MPUB is over the server's limit.
    #[error("MPUB message too big {size} > {max}")]
    MpubMessageTooBig {
        /// The length as it came.
        size: u32,
        /// The limit.
        max: u32,
    },
    /// A message of an MPUB goes beyond the end of the body.
    #[error("MPUB message({index}) ends behind the body")]
    MpubCut {
        /// Which one, from 0.
        index: usize,
    },
    /// The messages of an MPUB end before the body does.
    #[error("MPUB body size {declared} does not fit its messages, which end at {used}")]
    MpubLength {
        /// What the body's length said.
        declared: usize,
        /// What the messages took.
        used: usize,
    },
}

/// What a number in a command line stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parameter {
    /// RDY's.
    Count,
    /// REQ's and DPUB's delay in milliseconds, which nsqd calls timeout.
    Timeout,
}

impl std::fmt::Display for Parameter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Count => "count",
            Self::Timeout => "timeout",
        })
    }
}

impl CommandName {
    /// Whether its body is one message, which has a limit and a code of its own.
    const fn takes_message(self) -> bool {
        matches!(self, Self::Pub | Self::Dpub)
    }

    /// Whether it must have no words behind it.
    const fn is_bare(self) -> bool {
        matches!(self, Self::Auth)
    }

    /// What nsqd calls the words behind it.
    const fn parameters(self) -> &'static str {
        match self {
            Self::Fin | Self::Req | Self::Touch => "params",
            _ => "parameters",
        }
    }
}

impl CommandError {
    /// The code that nsqd answers with.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::LineTooLong
            | Self::UnknownCommand(_)
            | Self::Parameters { .. }
            | Self::MessageId
            | Self::Number { .. }
            | Self::RdyRange { .. } => ErrorCode::Invalid,
            Self::Topic { .. } => ErrorCode::BadTopic,
            Self::Channel { .. } => ErrorCode::BadChannel,
            Self::BodySize { command, .. } | Self::BodyTooBig { command, .. } if command.takes_message() => {
                ErrorCode::BadMessage
            }
            Self::BodySize { .. } | Self::BodyTooBig { .. } => ErrorCode::BadBody,
            Self::MpubCount { .. } | Self::MpubLength { .. } => ErrorCode::BadBody,
            Self::MpubMessageSize { .. } | Self::MpubMessageTooBig { .. } | Self::MpubCut { .. } => {
                ErrorCode::BadMessage
            }
        }
    }

    /// As the [`code`](Self::code) says: always.
    pub const fn is_fatal(&self) -> bool {
        self.code().is_fatal()
    }
}
