//! Server to client: frames.
//!
//! A frame is `[i32 size][i32 kind][payload]`, big-endian; `size` counts kind and payload. A reader that
//! streams takes the 8 bytes of a [`FrameHead`] first, which says how many bytes follow and refuses what
//! cannot be a frame; one that has the bytes at hand uses [`Frame::parse`].

mod head;
mod write;

pub use head::{FrameError, FrameHead, FrameKind};
pub use write::{write_error, write_message, write_response};

use crate::message::MessageHead;

/// Bytes of a [`FrameHead`]: size and kind.
pub const HEADER_LEN: usize = 8;

/// Bytes of a message frame's payload before the body.
pub const MESSAGE_HEAD_LEN: usize = MessageHead::LEN;

/// Longest payload of a response or error that is believed. nsqd's longest, the answer to IDENTIFY, has some
/// 300 bytes.
pub const CONTROL_BYTES_MAX: usize = 64 * 1024;

/// Longest payload of a message that is believed. What is longer is no message but noise: nsqd's own default
/// limit is 1 MiB. A reader's limit for what it will hold is another, lower one.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// The response that must be answered by any command, if only a NOP, within two heartbeat intervals.
pub const HEARTBEAT: &[u8] = b"_heartbeat_";

/// The response that says yes: to SUB, to a publish, to each step of an upgrade.
pub const OK: &[u8] = b"OK";

/// The response to CLS. Messages may still follow it.
pub const CLOSE_WAIT: &[u8] = b"CLOSE_WAIT";

/// A whole frame, borrowed from the bytes that it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// An answer, or a heartbeat: [`Response::new`] tells which.
    Response(&'a [u8]),
    /// An error: [`ServerError::parse`](crate::ServerError::parse) reads it.
    Error(&'a [u8]),
    /// A message.
    Message {
        /// What comes before the body.
        head: MessageHead,
        /// What was published.
        body: &'a [u8],
    },
}

impl<'a> Frame<'a> {
    /// The frame at the front of `buf` and its length in bytes; `None` while some of it is missing.
    ///
    /// # Errors
    /// As [`FrameHead::decode`], as soon as the first 8 bytes are there.
    pub fn parse(buf: &'a [u8]) -> Result<Option<(Self, usize)>, FrameError> {
        let Some((head, rest)) = buf.split_first_chunk() else { return Ok(None) };
        let FrameHead { kind, len } = FrameHead::decode(head)?;
        let Some(payload) = rest.get(..len) else { return Ok(None) };
        let frame = match kind {
            FrameKind::Response => Self::Response(payload),
            FrameKind::Error => Self::Error(payload),
            FrameKind::Message => {
                let Some((head, body)) = payload.split_first_chunk() else {
                    return Err(FrameError::MessageTooShort { len });
                };
                Self::Message { head: MessageHead::decode(head), body }
            }
        };
        Ok(Some((frame, HEADER_LEN + len)))
    }
}

/// A response's payload, told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Response<'a> {
    /// [`OK`].
    Ok,
    /// [`HEARTBEAT`]: answers nothing that was asked, so it takes no slot in the order of answers.
    Heartbeat,
    /// [`CLOSE_WAIT`].
    CloseWait,
    /// Anything else: JSON, after IDENTIFY and AUTH.
    Other(&'a [u8]),
}

impl<'a> Response<'a> {
    /// Tells what `payload` is.
    pub fn new(payload: &'a [u8]) -> Self {
        match payload {
            OK => Self::Ok,
            HEARTBEAT => Self::Heartbeat,
            CLOSE_WAIT => Self::CloseWait,
            other => Self::Other(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_told_apart() {
        assert_eq!(Response::new(b"OK"), Response::Ok);
        assert_eq!(Response::new(b"_heartbeat_"), Response::Heartbeat);
        assert_eq!(Response::new(b"CLOSE_WAIT"), Response::CloseWait);
        assert_eq!(Response::new(b"{}"), Response::Other(b"{}"));
    }
}
