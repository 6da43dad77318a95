//! Finding the end of an answer's body. The bytes themselves are of no interest and never kept.

use super::bad_answer::BadBody;
use super::chunked::Chunked;
use super::framing::Framing;

/// Finds the end of one body.
#[derive(Clone, Debug)]
pub struct BodyReader(State);

#[derive(Clone, Debug)]
enum State {
    Remaining(u64),
    Chunked(Chunked),
    UntilClose,
}

/// What one call of [`BodyReader::feed`] used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyProgress {
    /// Bytes that belong to the body. What was fed behind them is surplus: the answer is over, and bytes other
    /// than line ends are stray (see [`only_line_ends`](super::only_line_ends)).
    pub consumed: usize,
    /// The body is complete.
    pub done: bool,
}

impl BodyReader {
    /// A reader at the first byte of a body.
    pub fn new(framing: Framing) -> BodyReader {
        BodyReader(match framing {
            Framing::None => State::Remaining(0),
            Framing::Length(length) => State::Remaining(length),
            Framing::Chunked => State::Chunked(Chunked::new()),
            Framing::UntilClose => State::UntilClose,
        })
    }

    /// Takes the next bytes, in pieces of any size; an empty piece asks whether a body without bytes is done.
    ///
    /// # Errors
    /// [`BadBody`] when they are not what the head announced. The reader is of no use afterwards.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<BodyProgress, BadBody> {
        match &mut self.0 {
            State::Remaining(remaining) => {
                let consumed = usize::try_from(*remaining).unwrap_or(usize::MAX).min(bytes.len());
                *remaining -= consumed as u64;
                Ok(BodyProgress { consumed, done: *remaining == 0 })
            }
            State::Chunked(chunked) => chunked.feed(bytes),
            State::UntilClose => Ok(BodyProgress { consumed: bytes.len(), done: false }),
        }
    }

    /// Whether the body is complete, so that its connection may be handed on.
    pub fn is_done(&self) -> bool {
        match &self.0 {
            State::Remaining(remaining) => *remaining == 0,
            State::Chunked(chunked) => chunked.is_done(),
            State::UntilClose => false,
        }
    }

    /// The peer closed.
    ///
    /// # Errors
    /// [`BadBody::Cut`] when the body has an end of its own that had not come.
    pub fn end_of_stream(&self) -> Result<(), BadBody> {
        if matches!(self.0, State::UntilClose) || self.is_done() { Ok(()) } else { Err(BadBody::Cut) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_ends_with_its_last_byte() {
        let mut body = BodyReader::new(Framing::Length(5));
        assert_eq!(body.feed(b"abc"), Ok(BodyProgress { consumed: 3, done: false }));
        assert_eq!(body.end_of_stream(), Err(BadBody::Cut));
        assert_eq!(body.feed(b"defgh"), Ok(BodyProgress { consumed: 2, done: true }));
        assert!(body.is_done());
        assert_eq!(body.end_of_stream(), Ok(()));
        assert_eq!(body.feed(b"x"), Ok(BodyProgress { consumed: 0, done: true }));
    }

    #[test]
    fn bodies_without_bytes_are_done_at_once() {
        for framing in [Framing::None, Framing::Length(0)] {
            let mut body = BodyReader::new(framing);
            assert!(body.is_done());
            assert_eq!(body.feed(b"HTTP/1.1"), Ok(BodyProgress { consumed: 0, done: true }));
        }
        assert!(!BodyReader::new(Framing::Chunked).is_done());
    }

    #[test]
    fn until_close_ends_with_the_stream_alone() {
        let mut body = BodyReader::new(Framing::UntilClose);
        assert_eq!(body.feed(b"0\r\n\r\n"), Ok(BodyProgress { consumed: 5, done: false }));
        assert_eq!(body.end_of_stream(), Ok(()));
        assert!(!body.is_done(), "its connection is never handed on");
    }

    #[test]
    fn the_longest_length_does_not_overflow() {
        let mut body = BodyReader::new(Framing::Length(u64::MAX));
        assert_eq!(body.feed(&[0; 100]), Ok(BodyProgress { consumed: 100, done: false }));
    }
}
