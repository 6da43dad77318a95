//! Reading the head of an answer out of everything received so far, skipping interim heads.
//!
//! The common case is one call with one complete head: one pass of `httparse` over fields that borrow from the
//! caller's bytes. A head that comes in pieces is parsed again only when its end has come, or when it has doubled since
//! the last try (so that garbage is noticed early), which keeps a head that drips in byte by byte linear.

use std::mem::MaybeUninit;
use std::time::Duration;

use httparse::{Error, ParserConfig, Response, Status};

use super::bad_answer::BadAnswer;
use super::fields::Fields;
use super::framing::{self, CloseAfter, Framing};

/// No limit on fields can be set above this: the parser's slots for them are on the stack, 32 bytes each.
pub const HEAD_FIELDS_CEILING: usize = 256;

/// Limits over all heads of one answer together, interim ones included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HeadLimits {
    /// Bytes, from the status line to the empty line. Default 65,536.
    pub bytes_max: usize,
    /// Fields. Default 100; what is above [`HEAD_FIELDS_CEILING`] counts as that.
    pub fields_max: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        HeadLimits { bytes_max: 64 * 1024, fields_max: 100 }
    }
}

/// A complete, valid, final head: it decides the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerHead {
    /// 200 to 599.
    pub status: u16,
    /// Where the body ends.
    pub framing: Framing,
    /// Why the connection must be closed after the body, or `None` when it may carry another request.
    pub close: Option<CloseAfter>,
    /// How long `Retry-After` asks to wait, counted from now; absent, past or unreadable is `None`.
    pub retry_after: Option<Duration>,
}

/// What one call of [`HeadReader::read`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadRead {
    /// Read more, drop the first `consumed` bytes, and call again with the rest and what was read.
    Incomplete {
        /// Bytes of interim heads and empty lines that are done with.
        consumed: usize,
    },
    /// The head, and where the body starts.
    Complete {
        /// What it says.
        head: AnswerHead,
        /// Bytes up to the first one of the body.
        consumed: usize,
    },
}

/// Reads the head of one answer. Make a new one for each request.
#[derive(Clone, Debug)]
pub struct HeadReader {
    limits: HeadLimits,
    /// Consumed by interim heads and empty lines.
    bytes_spent: usize,
    fields_spent: usize,
    /// An interim head had a `close` token.
    close: bool,
    /// An interim head was skipped.
    began: bool,
    /// Length of the unfinished head when it was parsed last.
    parsed: usize,
    /// How far the unfinished head was searched for its end.
    searched: usize,
}

impl HeadReader {
    /// A reader that has seen nothing yet.
    pub fn new(limits: HeadLimits) -> HeadReader {
        HeadReader {
            limits,
            bytes_spent: 0,
            fields_spent: 0,
            close: false,
            began: false,
            parsed: 0,
            searched: 0,
        }
    }

    /// Looks for a final head at the start of `unread`: everything received of this answer that no earlier call
    /// reported as consumed.
    ///
    /// # Errors
    /// [`BadAnswer`] when there will be no usable head, whatever follows.
    pub fn read(&mut self, unread: &[u8]) -> Result<HeadRead, BadAnswer> {
        let mut consumed = 0;
        loop {
            if self.parsed == 0 {
                consumed += self.skip_line_ends(&unread[consumed..])?;
            }
            let rest = &unread[consumed..];
            match self.parse(rest)? {
                None => return Ok(HeadRead::Incomplete { consumed }),
                Some((Parsed::Interim, len)) => consumed += len,
                Some((Parsed::Final(head), len)) => {
                    return Ok(HeadRead::Complete { head, consumed: consumed + len });
                }
            }
        }
    }

    /// What it means that the peer closed here: `Some` when some of an answer had come, `None` when not one byte
    /// of it had (`unread` is what was passed to [`HeadReader::read`] last, less what it consumed).
    pub fn end_of_stream(&self, unread: &[u8]) -> Option<BadAnswer> {
        (self.began || !super::only_line_ends(unread)).then_some(BadAnswer::HeadCut)
    }

    /// Empty lines before a status line (RFC 9112 section 2.2), counted as head bytes so that they end.
    fn skip_line_ends(&mut self, bytes: &[u8]) -> Result<usize, BadAnswer> {
        let mut len = 0;
        loop {
            match &bytes[len..] {
                [b'\r', b'\n', ..] => len += 2,
                [b'\n', ..] => len += 1,
                _ => break,
            }
        }
        self.spend(len, 0)?;
        Ok(len)
    }

    fn parse(&mut self, rest: &[u8]) -> Result<Option<(Parsed, usize)>, BadAnswer> {
        let found = if self.worth_parsing(rest) { self.parse_head(rest)? } else { None };
        match found {
            Some((parsed, len, fields)) => {
                self.spend(len, fields)?;
                (self.parsed, self.searched) = (0, 0);
                Ok(Some((parsed, len)))
            }
            None if self.bytes_spent + rest.len() >= self.limits.bytes_max => {
                Err(BadAnswer::HeadTooLong { limit: self.limits.bytes_max })
            }
            None => Ok(None),
        }
    }

    fn worth_parsing(&mut self, rest: &[u8]) -> bool {
        let from = self.searched.saturating_sub(2); // the end may straddle what came before
        self.searched = rest.len();
        let worth = self.parsed == 0 || rest.len() >= 2 * self.parsed || has_head_end(&rest[from..]);
        if worth {
            self.parsed = rest.len();
        }
        worth
    }

    /// One head at the start of `rest` with its length and number of fields, or `None` when it is incomplete.
    fn parse_head(&mut self, rest: &[u8]) -> Result<Option<(Parsed, usize, usize)>, BadAnswer> {
        let mut slots = [const { MaybeUninit::uninit() }; HEAD_FIELDS_CEILING];
        let slots_left = self.limits.fields_max.min(HEAD_FIELDS_CEILING) - self.fields_spent;
        let mut response = Response::new(&mut []);
        let mut config = ParserConfig::default();
        // RFC 9112 section 5.2: a reader of answers has to take a folded field as one line.
        config.allow_obsolete_multiline_headers_in_responses(true);
        let len =
            match config.parse_response_with_uninit_headers(&mut response, rest, &mut slots[..slots_left]) {
                Ok(Status::Complete(len)) => len,
                Ok(Status::Partial) => return Ok(None),
                Err(error) => return Err(self.refusal(error)),
            };
        let mut fields = Fields::default();
        for header in &*response.headers {
            fields.add(header.name, header.value);
        }
        let status = response.code.expect("a complete head has a status");
        let http10 = response.version == Some(0);
        Ok(Some((self.judge(status, http10, &fields)?, len, response.headers.len())))
    }

    fn judge(&mut self, status: u16, http10: bool, fields: &Fields) -> Result<Parsed, BadAnswer> {
        self.close |= fields.close;
        match status {
            101 => Err(BadAnswer::SwitchingProtocols),
            100..=199 => {
                self.began = true;
                Ok(Parsed::Interim)
            }
            200..=599 => {
                let fields = Fields { close: self.close, ..*fields };
                let (framing, close) = framing::of(status, http10, &fields)?;
                Ok(Parsed::Final(AnswerHead { status, framing, close, retry_after: fields.retry_after }))
            }
            _ => Err(BadAnswer::StatusOutOfRange(status)),
        }
    }

    fn spend(&mut self, bytes: usize, fields: usize) -> Result<(), BadAnswer> {
        self.bytes_spent += bytes;
        self.fields_spent += fields;
        if self.bytes_spent > self.limits.bytes_max {
            return Err(BadAnswer::HeadTooLong { limit: self.limits.bytes_max });
        }
        Ok(())
    }

    fn refusal(&self, error: Error) -> BadAnswer {
        match error {
            Error::Version => BadAnswer::NotHttp1,
            Error::Status => BadAnswer::StatusLine,
            Error::TooManyHeaders => {
                BadAnswer::TooManyFields { limit: self.limits.fields_max.min(HEAD_FIELDS_CEILING) }
            }
            // The rest is about field lines: `Token` and `NewLine` before the status line are excluded by
            // `skip_line_ends`, apart from a bare CR there.
            Error::HeaderName | Error::HeaderValue | Error::NewLine | Error::Token => BadAnswer::Field,
        }
    }
}

enum Parsed {
    Interim,
    Final(AnswerHead),
}

/// Whether an empty line ends somewhere in `bytes`, which start inside a head.
fn has_head_end(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', bytes).any(|at| matches!(bytes[at + 1..], [b'\n', ..] | [b'\r', b'\n', ..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<HeadRead, BadAnswer> {
        HeadReader::new(HeadLimits::default()).read(bytes)
    }

    fn complete(bytes: &[u8]) -> (AnswerHead, usize) {
        match read(bytes) {
            Ok(HeadRead::Complete { head, consumed }) => (head, consumed),
            other => panic!("{:?} gave {other:?}", bytes.escape_ascii().to_string()),
        }
    }

    #[test]
    fn one_complete_head() {
        let (head, consumed) = complete(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(
            head,
            AnswerHead { status: 200, framing: Framing::Length(2), close: None, retry_after: None }
        );
        assert_eq!(consumed, 38);
    }

    #[test]
    fn lenient_where_the_length_is_certain() {
        for bytes in [
            "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 \r\nContent-Length:0\r\n\r\n",
            "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
            "\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length:\t0 \r\n\r\n",
            "HTTP/1.1 200 OK\r\nX-Folded: one\r\n\ttwo\r\nContent-Length:\r\n 0\r\n\r\n",
            "HTTP/1.1 200 \u{fc}\r\nX: \u{fc}\r\nContent-Length: 0\r\n\r\n",
        ] {
            let (head, consumed) = complete(bytes.as_bytes());
            assert_eq!(
                (head.framing, head.close, consumed),
                (Framing::Length(0), None, bytes.len()),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn no_usable_answer() {
        let cases: &[(&str, BadAnswer)] = &[
            ("<html>hello</html>", BadAnswer::NotHttp1),
            ("HTTP/2 200 OK\r\n\r\n", BadAnswer::NotHttp1),
            ("HTTP/0.9 200 OK\r\n\r\n", BadAnswer::NotHttp1),
            ("http/1.1 200 OK\r\n\r\n", BadAnswer::NotHttp1),
            ("SSH-2.0-OpenSSH_9.6\r\n", BadAnswer::NotHttp1),
            ("HTTP/1.1 2xx OK\r\n\r\n", BadAnswer::StatusLine),
            ("HTTP/1.1  200 OK\r\n\r\n", BadAnswer::StatusLine),
            ("HTTP/1.1 2000 OK\r\n\r\n", BadAnswer::StatusLine),
            ("HTTP/1.1 -20 OK\r\n\r\n", BadAnswer::StatusLine),
            ("HTTP/1.1 200 a\0b\r\n\r\n", BadAnswer::StatusLine),
            ("HTTP/1.1 000 OK\r\n\r\n", BadAnswer::StatusOutOfRange(0)),
            ("HTTP/1.1 099 OK\r\n\r\n", BadAnswer::StatusOutOfRange(99)),
            ("HTTP/1.1 600 OK\r\n\r\n", BadAnswer::StatusOutOfRange(600)),
            ("HTTP/1.1 999 OK\r\n\r\n", BadAnswer::StatusOutOfRange(999)),
            ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", BadAnswer::SwitchingProtocols),
            ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", BadAnswer::Field),
            ("HTTP/1.1 200 OK\r\nName : value\r\n\r\n", BadAnswer::Field),
            ("HTTP/1.1 200 OK\r\n folded: first\r\n\r\n", BadAnswer::Field),
            ("HTTP/1.1 200 OK\r\nName: bare\rCR\r\n\r\n", BadAnswer::Field),
            ("HTTP/1.1 200 OK\r\nName: \0\r\n\r\n", BadAnswer::Field),
            ("\rHTTP/1.1 200 OK\r\n\r\n", BadAnswer::Field),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n", BadAnswer::ContentLength),
        ];
        for (bytes, expected) in cases {
            assert_eq!(read(bytes.as_bytes()), Err(*expected), "{bytes:?}");
        }
    }

    #[test]
    fn interim_heads_are_skipped() {
        let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
        let (head, consumed) = complete(bytes);
        assert_eq!(
            (head.status, head.framing, head.close, consumed),
            (204, Framing::None, None, bytes.len())
        );

        // Their fields frame nothing, apart from the wish to close.
        let (head, _) = complete(
            b"HTTP/1.1 102 P\r\nContent-Length: x\r\nConnection: close\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        );
        assert_eq!((head.framing, head.close), (Framing::Length(0), Some(CloseAfter::AnswerClose)));
    }

    #[test]
    fn in_pieces_of_every_size_the_result_is_the_same() {
        let answer = b"\r\nHTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nX: y\r\n\tz\r\nContent-Length: 3\r\n\r\nabc";
        let (whole, whole_consumed) = complete(answer);
        for piece in 1..answer.len() {
            let mut reader = HeadReader::new(HeadLimits::default());
            let (mut dropped, mut received) = (0, 0);
            let head = loop {
                received = (received + piece).min(answer.len());
                match reader.read(&answer[dropped..received]).expect("the answer is valid") {
                    HeadRead::Incomplete { consumed } => dropped += consumed,
                    HeadRead::Complete { head, consumed } => {
                        assert_eq!(dropped + consumed, whole_consumed);
                        break head;
                    }
                }
            };
            assert_eq!(head, whole);
        }
    }

    #[test]
    fn limits_hold_over_all_heads_and_at_every_split() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let interim = "HTTP/1.1 100 Continue\r\nA: b\r\n\r\n";
        let answer = format!("\r\n{interim}{head}");
        let read = |bytes: &str, bytes_max, fields_max| {
            HeadReader::new(HeadLimits { bytes_max, fields_max }).read(bytes.as_bytes())
        };
        assert!(matches!(read(&answer, answer.len(), 2), Ok(HeadRead::Complete { .. })));
        let limit = answer.len() - 1;
        let too_long = Err(BadAnswer::HeadTooLong { limit });
        assert_eq!(read(&answer, limit, 2), too_long);
        assert_eq!(read(&answer, 1000, 1), Err(BadAnswer::TooManyFields { limit: 1 }));
        // Not complete within the limit: refused without waiting for the end.
        assert_eq!(read(&answer[..limit], limit, 2), too_long);
        assert_eq!(read(&"\r\n".repeat(limit), limit, 2), too_long);
        // A body behind the head does not count.
        let with_body = format!("{head}{}", "x".repeat(1000));
        assert!(matches!(read(&with_body, head.len(), 1), Ok(HeadRead::Complete { .. })));
    }

    #[test]
    fn the_default_limits_are_64_kib_and_100_fields() {
        let fields = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(count));
        assert!(matches!(read(fields(100).as_bytes()), Ok(HeadRead::Complete { .. })));
        assert_eq!(read(fields(101).as_bytes()), Err(BadAnswer::TooManyFields { limit: 100 }));
        let long = |len: usize| format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "b".repeat(len - 24));
        assert!(matches!(read(long(65_536).as_bytes()), Ok(HeadRead::Complete { .. })));
        assert_eq!(read(long(65_537).as_bytes()), Err(BadAnswer::HeadTooLong { limit: 65_536 }));
    }

    #[test]
    fn a_limit_above_the_ceiling_is_the_ceiling() {
        let head = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(257));
        let mut reader = HeadReader::new(HeadLimits { fields_max: 1000, ..HeadLimits::default() });
        assert_eq!(reader.read(head.as_bytes()), Err(BadAnswer::TooManyFields { limit: 256 }));
    }

    /// Parsed at every byte, this would scan two gigabytes.
    #[test]
    fn a_head_that_drips_in_is_linear() {
        let head = format!(
            "HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n",
            format!("A: {}\r\n", "b".repeat(640)).repeat(98)
        );
        let mut reader = HeadReader::new(HeadLimits::default());
        let mut parses = 0;
        for len in 1..head.len() {
            let before = reader.parsed;
            assert_eq!(reader.read(&head.as_bytes()[..len]), Ok(HeadRead::Incomplete { consumed: 0 }));
            parses += usize::from(reader.parsed != before);
        }
        assert!(matches!(reader.read(head.as_bytes()), Ok(HeadRead::Complete { .. })));
        assert!(parses <= 17, "{parses} parses of a head of {} bytes", head.len());
    }

    #[test]
    fn garbage_is_noticed_before_its_end() {
        let mut reader = HeadReader::new(HeadLimits::default());
        assert_eq!(reader.read(b"H"), Ok(HeadRead::Incomplete { consumed: 0 }));
        assert_eq!(reader.read(b"Hello"), Err(BadAnswer::NotHttp1));
    }

    #[test]
    fn the_peer_closes() {
        let reader = HeadReader::new(HeadLimits::default());
        assert_eq!(reader.end_of_stream(b""), None);
        assert_eq!(reader.end_of_stream(b"\r\n"), None);
        assert_eq!(reader.end_of_stream(b"HTTP/1.1 2"), Some(BadAnswer::HeadCut));
        let mut reader = HeadReader::new(HeadLimits::default());
        let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
        assert_eq!(reader.read(interim), Ok(HeadRead::Incomplete { consumed: interim.len() }));
        assert_eq!(reader.end_of_stream(b""), Some(BadAnswer::HeadCut), "some of an answer had come");
    }

    #[test]
    fn retry_after_is_reported() {
        let (head, _) =
            complete(b"HTTP/1.1 503 No\r\nRetry-After: 2\r\nretry-after: 7\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(head.retry_after, Some(Duration::from_secs(7)));
        let (head, _) = complete(b"HTTP/1.1 503 No\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(head.retry_after, None);
    }
}
