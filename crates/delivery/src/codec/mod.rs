//! HTTP/1.1 answers, bytes only: where the head ends, what it says, where the body ends, and whether the
//! connection may carry another request. No I/O, no time, no allocation.
//!
//! ```text
//! bytes ─► HeadReader::read ─► AnswerHead { status, framing, close } ─► BodyReader::feed ─► done, surplus
//!             │ interim heads (1xx) are skipped                            │ body bytes are counted, not kept
//!             └ BadAnswer: nobody answered, retry                          └ BadBody: the status stands, close
//! ```
//!
//! The rule behind the split: **a complete, valid head with a final status decides the outcome; the rest
//! decides the connection.** So everything that makes a head unusable is a [`BadAnswer`], and everything that
//! goes wrong behind it only costs the connection.
//!
//! Strictness follows RFC 9112 where a reader has no choice, and is lenient only where being strict would turn
//! a delivered message into a duplicate: bare LF line ends in a head (section 2.2), folded fields (section 5.2),
//! a missing reason phrase. Nothing lenient concerns the length of a body.

mod bad_answer;
mod body;
mod chunked;
mod fields;
mod framing;
mod head;

pub use bad_answer::{BadAnswer, BadBody};
pub use body::{BodyProgress, BodyReader};
pub use framing::{CloseAfter, Framing};
pub use head::{AnswerHead, HEAD_FIELDS_CEILING, HeadLimits, HeadRead, HeadReader};

/// Whether `bytes` are nothing but line ends, which may follow an answer and mean nothing (RFC 9112 section 2.2
/// has old peers append them). Anything else between two answers is stray and retires the connection.
pub fn only_line_ends(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
}

#[cfg(test)]
mod tests {
    #[test]
    fn line_ends_alone_are_no_stray_bytes() {
        for bytes in ["", "\r\n", "\r\n\r\n", "\n", "\r"] {
            assert!(super::only_line_ends(bytes.as_bytes()), "{bytes:?}");
        }
        for bytes in [" ", "\0", "\r\nHTTP/1.1 200 OK"] {
            assert!(!super::only_line_ends(bytes.as_bytes()), "{bytes:?}");
        }
    }
}
