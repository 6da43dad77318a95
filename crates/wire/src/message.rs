//! A message's id, and the 26 bytes that stand before its body.

use std::fmt;

/// The id that nsqd gave a message: 16 bytes, by nsqd always lowercase hex.
///
/// It stays the same over redeliveries and over the channels of a topic. It is **not** unique on its own: two
/// nsqds, or two topics of one, may issue the same id. A message's key is (nsqd, topic, channel, id).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(pub [u8; 16]);

impl MessageId {
    /// Bytes of an id.
    pub const LEN: usize = 16;

    /// Whether a FIN, REQ or TOUCH can carry it: a space or a line end in it would make another command of
    /// the line. nsqd's ids always can; what fails here is no message of a working nsqd.
    pub fn is_speakable(&self) -> bool {
        self.0.iter().all(u8::is_ascii_graphic)
    }
}

impl fmt::Display for MessageId {
    /// The id as text; a byte that is not printable ASCII comes out escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(&self.0) {
            Ok(text) if self.is_speakable() => f.pad(text),
            _ => write!(f, "{}", self.0.escape_ascii()),
        }
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageId({self})")
    }
}

/// What a message frame says before the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageHead {
    /// When nsqd took the message, in nanoseconds since 1970, by nsqd's clock.
    pub timestamp_ns: i64,
    /// How often the message was handed out, this time included: starts at 1 and wraps from 65,535 to 0.
    pub attempts: u16,
    /// The message's id.
    pub id: MessageId,
}

impl MessageHead {
    /// Bytes of a message head.
    pub const LEN: usize = 26;

    /// Reads a head. Every 26 bytes are one: see [`MessageId::is_speakable`] for the part that may still be
    /// nonsense.
    #[inline]
    pub fn decode(bytes: &[u8; Self::LEN]) -> Self {
        let [t0, t1, t2, t3, t4, t5, t6, t7, a0, a1, id @ ..] = *bytes;
        Self {
            timestamp_ns: i64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]),
            attempts: u16::from_be_bytes([a0, a1]),
            id: MessageId(id),
        }
    }

    /// The head as nsqd writes it.
    #[inline]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&self.timestamp_ns.to_be_bytes());
        bytes[8..10].copy_from_slice(&self.attempts.to_be_bytes());
        bytes[10..].copy_from_slice(&self.id.0);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_of_nsqd() {
        let mut bytes = [0; MessageHead::LEN];
        bytes[..8].copy_from_slice(&1_763_800_000_123_456_789_i64.to_be_bytes());
        bytes[8..10].copy_from_slice(&[1, 2]);
        bytes[10..].copy_from_slice(b"18a4199d98e69000");
        let head = MessageHead::decode(&bytes);
        assert_eq!((head.timestamp_ns, head.attempts), (1_763_800_000_123_456_789, 258));
        assert_eq!(head.id.to_string(), "18a4199d98e69000");
        assert_eq!(head.encode(), bytes);
    }

    #[test]
    fn an_id_never_breaks_a_line() {
        assert!(MessageId(*b"18a4199d98e69000").is_speakable());
        let broken = MessageId(*b"18a4199d\n 8e\xff000");
        assert!(!broken.is_speakable());
        assert_eq!(broken.to_string(), "18a4199d\\n 8e\\xff000");
    }
}
