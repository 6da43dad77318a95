//! What can be wrong with an answer. [`BadAnswer`] voids it, [`BadBody`] only costs the connection.

use thiserror::Error;

/// The peer sent something that is no usable answer: whether it took the request is unknown, so it is retried,
/// and the connection is closed, because nobody knows where the next answer would start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum BadAnswer {
    /// It does not start with `HTTP/1.0` or `HTTP/1.1`: HTTP/0.9, another protocol, or bytes of nothing.
    #[error("the answer does not start as HTTP/1.1 or HTTP/1.0 does")]
    NotHttp1,
    /// The rest of the first line is not a three-digit status and a reason.
    #[error("the status line is malformed")]
    StatusLine,
    /// A status outside 100 to 599 (RFC 9110 section 15 calls it invalid).
    #[error("status {0} is outside 100 to 599")]
    StatusOutOfRange(u16),
    /// `101 Switching Protocols`, which nobody asked for: what follows is no HTTP.
    #[error("the peer switched to another protocol (101)")]
    SwitchingProtocols,
    /// A field line is malformed: no colon, a space before it, a control byte, a bare CR.
    #[error("a header field of the answer is malformed")]
    Field,
    /// `Content-Length` is not a number of 64 bits, or is given twice with different values
    /// (RFC 9112 section 6.3, rule 5).
    #[error("Content-Length is invalid or contradicts itself")]
    ContentLength,
    /// The heads of this answer (interim ones included) are longer than allowed.
    #[error("the answer's head is longer than {limit} bytes")]
    HeadTooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The heads of this answer (interim ones included) have more fields than allowed.
    #[error("the answer's head has more than {limit} fields")]
    TooManyFields {
        /// The limit, in fields.
        limit: usize,
    },
    /// The peer closed after some bytes of a head, or after interim heads alone.
    #[error("the peer closed in the middle of the answer's head")]
    HeadCut,
}

/// The body is not what its head announced. The status stands; the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum BadBody {
    /// A chunk's size is missing, is no hexadecimal number, or does not fit 64 bits.
    #[error("a chunk's size is malformed or too large")]
    ChunkSize,
    /// A chunk's size line, or the data before it, does not end in CR LF.
    #[error("a chunk does not end in CR LF")]
    ChunkEnd,
    /// Chunk extensions hold a control byte.
    #[error("a chunk extension is malformed")]
    Extension,
    /// All chunk extensions of the body together are longer than 16 KiB.
    #[error("the chunk extensions are longer than 16 KiB")]
    ExtensionsTooLong,
    /// A trailer field is malformed.
    #[error("a trailer field is malformed")]
    Trailer,
    /// All trailer fields together are longer than 16 KiB, or more than 100.
    #[error("the trailers are longer than 16 KiB or more than 100")]
    TrailersTooLong,
    /// The peer closed before the body's end.
    #[error("the peer closed before the body's end")]
    Cut,
}
