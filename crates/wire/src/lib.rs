//! The NSQ TCP protocol V2, bytes only: what a client says to nsqd and what nsqd says back.
//!
//! Nothing here does I/O, waits, or keeps state: bytes in, values out, and the other way round. So a client,
//! the embedded queue and the tests' scripted nsqd share one codec, and all of it is fuzzed.
//!
//! | module | holds |
//! |---|---|
//! | [`name`] | topic and channel names, and the rule that they obey |
//! | [`message`] | [`MessageId`], and the 26 bytes before each message's body |
//! | [`frame`] | server to client: frame heads, whole frames, the fixed responses |
//! | [`command`] | client to server: every command, to write ([`Command::write`]) and to read ([`command::parse`]) |
//! | [`error_code`] | every error code, whether it ends the connection, and error frames as values |
//! | [`identify`] | the JSON of IDENTIFY, both ways |
//! | [`auth`] | the JSON that answers AUTH |
//!
//! The way of a connection: the client writes [`command::MAGIC_V2`], then commands; nsqd answers in frames.
//! FIN, REQ, TOUCH, RDY and NOP are not answered when they succeed; the others are answered strictly in
//! order.
//!
//! Three rules hold everywhere:
//! - **No input panics.** Whatever a peer sends is either a value or a typed error.
//! - **Bounded.** A length is judged before anything is reserved for it, and text that comes from the peer is
//!   cut and made printable before it can reach a log.
//! - **Never out of step.** A length that the protocol cannot express is written as -1 and without its bytes,
//!   which the peer refuses; it is never cut to 32 bits, since the peer would take the rest of the body for
//!   commands.

pub mod auth;
pub mod command;
pub mod error_code;
pub mod frame;
pub mod identify;
pub mod message;
pub mod name;

mod length;
mod printable;

pub use auth::AuthResponse;
pub use command::{Command, CommandError, CommandName, Limits, MAGIC_V2};
pub use error_code::{ErrorCode, ServerError};
pub use frame::{Frame, FrameError, FrameHead, FrameKind, Response};
pub use identify::{IdentifyRequest, IdentifyResponse};
pub use message::{MessageHead, MessageId};
pub use name::{ChannelName, NameError, TopicName};
