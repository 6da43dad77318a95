//! How a publish can fail, by what is then known of the message.

use wire::ServerError;

use super::connection::Disconnect;

/// Why a publish did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PublishError {
    /// nsqd refused it, and stored nothing of it.
    #[error("nsqd refused it: {0}")]
    Refused(ServerError),
    /// It never left, so nothing of it is stored.
    #[error("not sent: {0}")]
    NotSent(NotSent),
    /// It may be stored or not: to publish it again may store it twice.
    #[error("outcome unknown: {0}")]
    OutcomeUnknown(OutcomeUnknown),
}

/// Why a request never left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// Its deadline passed while it waited for its turn.
    #[error("no turn before the deadline, over a standing connection")]
    Busy,
    /// Its deadline passed while there was no connection.
    #[error("no connection before the deadline")]
    NotConnected,
    /// A message of it is empty, or there is none in it. nsqd takes no such thing.
    #[error("an empty message")]
    Empty,
    /// It is larger than `bytes_max`.
    #[error("{bytes} bytes, {max} may be under way")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// `bytes_max` of the settings.
        max: usize,
    },
    /// The producer was stopped.
    #[error("the producer was stopped")]
    Stopped,
}

/// Why there was no answer to a request that left, wholly or in part.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OutcomeUnknown {
    /// Its deadline passed.
    #[error("no answer before the deadline")]
    Deadline,
    /// Its connection ended first.
    #[error("{0}")]
    Disconnected(Disconnect),
    /// nsqd failed within an MPUB: the first of its messages are stored.
    #[error("nsqd stored a part of the messages: {0}")]
    InPart(ServerError),
    /// The producer was stopped.
    #[error("the producer was stopped before the answer came")]
    Stopped,
}
