//! Why the queue says no. Each error carries the decision; nobody reads the text but people.

use std::path::PathBuf;

/// Which bound a publish or a creation met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// [`crate::Settings::topic_messages_max`].
    TopicMessages,
    /// [`crate::Settings::topic_bytes_max`].
    TopicBytes,
    /// [`crate::Settings::messages_max`].
    Messages,
    /// [`crate::Settings::bytes_max`].
    Bytes,
    /// [`crate::Settings::topics_max`].
    Topics,
    /// [`crate::Settings::topic_channels_max`].
    Channels,
    /// [`crate::Settings::disk_reserve_bytes`]: what is free on the disk is kept for finishing and rewriting.
    DiskReserve,
}

impl Bound {
    /// What it bounds, for people.
    fn name(self) -> &'static str {
        match self {
            Self::TopicMessages => "messages of the topic",
            Self::TopicBytes => "bytes of the topic",
            Self::Messages => "messages",
            Self::Bytes => "bytes",
            Self::Topics => "topics",
            Self::Channels => "channels of the topic",
            Self::DiskReserve => "bytes of disk kept free",
        }
    }
}

/// Why a publish, or a change of topics and channels, did not happen. Nothing of it is kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The queue is full: try again when something was consumed. HTTP: 503 `QUEUE_FULL`.
    #[error("the queue is full: {limit} {}", what.name())]
    Full {
        /// What there would be too much of.
        what: Bound,
        /// How much is allowed.
        limit: u64,
    },
    /// The disk did not take it, or nobody can know whether it did: it was not acknowledged, and may come all the
    /// same.
    #[error("not stored: {0}")]
    NotStored(String),
    /// The broker stops.
    #[error("exiting")]
    Exiting,
    /// A single message is larger than a record may be.
    #[error("a message of {bytes} bytes, at most {limit} are taken")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The largest.
        limit: u64,
    },
}

/// Why a topic or channel was not created, changed or deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// There is no such topic.
    #[error("topic not found")]
    TopicNotFound,
    /// There is no such channel.
    #[error("channel not found")]
    ChannelNotFound,
    /// The journal did not take it.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// Why a SUB failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// [`crate::Settings::max_channel_consumers`].
    #[error("channel consumers for {topic}:{channel} exceeds limit of {limit}")]
    TooManyConsumers {
        /// The topic.
        topic: String,
        /// The channel.
        channel: String,
        /// The limit.
        limit: u32,
    },
    /// The topic or channel could not be created.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// Why a FIN, REQ or TOUCH failed, in nsqd's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettleError {
    /// It timed out, was settled before, or never was in flight here.
    #[error("ID not in flight")]
    NotInFlight,
    /// It is in flight to someone else.
    #[error("client does not own message")]
    NotOwner,
}

/// Why the queue cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The journal cannot be opened; [`journal::OpenError::InUse`] is another process.
    #[error(transparent)]
    Journal(#[from] journal::OpenError),
    /// A later version of the program wrote what this one does not know. Going on without it would lose what it says.
    #[error("{path}: its {what} was written by a newer version of this program: start that one", path = path.display())]
    Newer {
        /// The directory.
        path: PathBuf,
        /// What was met, with its number.
        what: String,
    },
    /// The log was read, but not to its end.
    #[error("{path}: cannot be read: {reason}", path = path.display())]
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// What must be logged at a start could not be.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// Why the last sync failed: what was not acknowledged may be lost, what was is safe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the last sync failed: {0}")]
pub struct CloseError(pub(super) String);
