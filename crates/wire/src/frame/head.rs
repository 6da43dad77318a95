//! The 8 bytes that begin a frame, and everything that can be wrong with them.

use super::{CONTROL_BYTES_MAX, FRAME_BYTES_MAX, HEADER_LEN, MESSAGE_HEAD_LEN};

/// What a frame's payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// An answer, or a heartbeat.
    Response,
    /// An error: [`ServerError::parse`](crate::ServerError::parse) reads it.
    Error,
    /// A message: [`MessageHead`](crate::MessageHead), then the body.
    Message,
}

/// The first 8 bytes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    /// What follows.
    pub kind: FrameKind,
    /// How many bytes follow these 8; at least [`MESSAGE_HEAD_LEN`] for a message.
    pub len: usize,
}

/// Why 8 bytes cannot begin a frame. The stream is lost then: nothing says where the next frame begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The size is below zero.
    #[error("impossible frame: size {size} is negative")]
    NegativeSize {
        /// The size as it came.
        size: i32,
    },
    /// The size has no room for the frame's kind.
    #[error("impossible frame: size {size} leaves no room for the frame's kind")]
    TooSmall {
        /// The size as it came.
        size: i32,
    },
    /// The kind is none of 0, 1, 2.
    #[error("impossible frame: unknown kind {kind} (size {size})")]
    UnknownKind {
        /// The kind as it came.
        kind: i32,
        /// The size as it came.
        size: i32,
    },
    /// A message without room for its head.
    #[error("impossible frame: a message of {len} bytes is shorter than its {MESSAGE_HEAD_LEN} byte head")]
    MessageTooShort {
        /// Payload bytes.
        len: usize,
    },
    /// A payload over [`CONTROL_BYTES_MAX`] or [`FRAME_BYTES_MAX`].
    #[error("impossible frame: {kind:?} of {len} bytes, at most {max} are believed")]
    TooLong {
        /// The frame's kind.
        kind: FrameKind,
        /// Payload bytes.
        len: usize,
        /// The bound for this kind.
        max: usize,
    },
    /// The peer speaks HTTP. It has an error of its own since it is the likeliest mistake: nsqd's HTTP port
    /// for its TCP port.
    #[error(
        "the peer speaks HTTP, not the NSQ protocol: is this nsqd's HTTP port (4151) where its TCP port (4150) is meant?"
    )]
    Http,
}

impl FrameKind {
    /// The longest payload that is believed.
    pub const fn bytes_max(self) -> usize {
        match self {
            Self::Response | Self::Error => CONTROL_BYTES_MAX,
            Self::Message => FRAME_BYTES_MAX,
        }
    }

    pub(super) const fn number(self) -> i32 {
        match self {
            Self::Response => 0,
            Self::Error => 1,
            Self::Message => 2,
        }
    }

    const fn from_number(number: i32) -> Option<Self> {
        match number {
            0 => Some(Self::Response),
            1 => Some(Self::Error),
            2 => Some(Self::Message),
            _ => None,
        }
    }
}

impl FrameHead {
    /// Reads a head and judges it.
    ///
    /// # Errors
    /// When no frame can begin so; the connection is then of no more use.
    #[inline]
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, FrameError> {
        let [s0, s1, s2, s3, k0, k1, k2, k3] = *bytes;
        let size = i32::from_be_bytes([s0, s1, s2, s3]);
        let number = i32::from_be_bytes([k0, k1, k2, k3]);
        match (FrameKind::from_number(number), usize::try_from(i64::from(size) - 4)) {
            (Some(kind), Ok(len)) if len <= kind.bytes_max() => match kind {
                FrameKind::Message if len < MESSAGE_HEAD_LEN => Err(FrameError::MessageTooShort { len }),
                _ => Ok(Self { kind, len }),
            },
            _ => Err(impossible(bytes, size, number)),
        }
    }

    /// The head as nsqd writes it; a length that cannot be said becomes -1.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let size = i32::try_from(self.len).ok().and_then(|len| len.checked_add(4)).unwrap_or(-1);
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(&size.to_be_bytes());
        bytes[4..].copy_from_slice(&self.kind.number().to_be_bytes());
        bytes
    }
}

/// Names what is wrong; out of the way of the heads that are right.
#[cold]
fn impossible(bytes: &[u8; HEADER_LEN], size: i32, number: i32) -> FrameError {
    if bytes.starts_with(b"HTTP/") {
        return FrameError::Http;
    }
    if size < 0 {
        return FrameError::NegativeSize { size };
    }
    match (FrameKind::from_number(number), usize::try_from(size - 4)) {
        (_, Err(_)) => FrameError::TooSmall { size },
        (None, _) => FrameError::UnknownKind { kind: number, size },
        (Some(kind), Ok(len)) => FrameError::TooLong { kind, len, max: kind.bytes_max() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(size: i32, kind: i32) -> Result<FrameHead, FrameError> {
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(&size.to_be_bytes());
        bytes[4..].copy_from_slice(&kind.to_be_bytes());
        FrameHead::decode(&bytes)
    }

    #[test]
    fn heads_at_their_bounds() {
        use FrameKind::{Error, Message, Response};
        assert_eq!(head(4, 0), Ok(FrameHead { kind: Response, len: 0 }));
        assert_eq!(head(65_540, 1), Ok(FrameHead { kind: Error, len: CONTROL_BYTES_MAX }));
        assert_eq!(head(30, 2), Ok(FrameHead { kind: Message, len: 26 }));
        assert_eq!(head(0x4000_0004, 2), Ok(FrameHead { kind: Message, len: FRAME_BYTES_MAX }));
    }

    #[test]
    fn impossible_heads_are_named() {
        use FrameError::{MessageTooShort, NegativeSize, TooLong, TooSmall, UnknownKind};
        assert_eq!(head(-1, 0), Err(NegativeSize { size: -1 }));
        assert_eq!(head(i32::MIN, 7), Err(NegativeSize { size: i32::MIN }));
        assert_eq!(head(3, 0), Err(TooSmall { size: 3 }));
        assert_eq!(head(0, 9), Err(TooSmall { size: 0 }));
        assert_eq!(head(10, 3), Err(UnknownKind { kind: 3, size: 10 }));
        assert_eq!(head(10, -1), Err(UnknownKind { kind: -1, size: 10 }));
        assert_eq!(head(29, 2), Err(MessageTooShort { len: 25 }));
        for (size, number, kind) in [(65_541, 0, FrameKind::Response), (i32::MAX, 2, FrameKind::Message)] {
            let len = size as usize - 4;
            assert_eq!(head(size, number), Err(TooLong { kind, len, max: kind.bytes_max() }));
        }
        assert_eq!(FrameHead::decode(b"HTTP/1.1"), Err(FrameError::Http));
    }
}
