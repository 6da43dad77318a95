//! The chunked coding (RFC 9112 section 7.1), only to find its end: sizes, extensions, trailers.
//!
//! Line ends are CR LF and nothing else here. The leniency of section 2.2 covers start line and fields of a head; in a
//! body a doubtful line end is a doubtful length, and being strict costs no more than this connection.

use super::bad_answer::BadBody;
use super::body::BodyProgress;

/// Bytes of all extensions of a body together. No peer known to us sends any; hyper has the same bound.
const EXTENSION_BYTES_MAX: u32 = 16 * 1024;
/// Bytes of all trailer fields together, line ends included.
const TRAILER_BYTES_MAX: u32 = 16 * 1024;
/// Trailer fields.
const TRAILER_FIELDS_MAX: u32 = 100;

/// Where in a chunked body the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// The first digit of a size.
    SizeStart,
    /// Behind a digit of a size.
    Size,
    /// White space behind a size.
    SizeSpace,
    Extension,
    /// The LF of a size line.
    SizeLf,
    /// Inside a chunk's bytes.
    Bytes,
    BytesCr,
    BytesLf,
    /// The first byte of a trailer line.
    LineStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    /// The LF of the last, empty line.
    EndLf,
    Done,
}

/// State of one chunked body.
#[derive(Clone, Debug)]
pub(super) struct Chunked {
    at: At,
    /// Of the chunk: its size while that is read, then what is left of it.
    size: u64,
    extension_bytes: u32,
    trailer_bytes: u32,
    trailer_fields: u32,
}

impl Chunked {
    pub(super) fn new() -> Chunked {
        Chunked { at: At::SizeStart, size: 0, extension_bytes: 0, trailer_bytes: 0, trailer_fields: 0 }
    }

    pub(super) fn is_done(&self) -> bool {
        self.at == At::Done
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<BodyProgress, BadBody> {
        let mut consumed = 0;
        while self.at != At::Done && consumed < bytes.len() {
            if self.at == At::Bytes {
                let left = usize::try_from(self.size).unwrap_or(usize::MAX).min(bytes.len() - consumed);
                consumed += left;
                self.size -= left as u64;
                if self.size == 0 {
                    self.at = At::BytesCr;
                }
            } else {
                self.at = self.step(bytes[consumed])?;
                consumed += 1;
            }
        }
        Ok(BodyProgress { consumed, done: self.is_done() })
    }

    /// Where `byte`, which is none of a chunk's own, leads.
    fn step(&mut self, byte: u8) -> Result<At, BadBody> {
        match (self.at, byte) {
            (At::SizeStart | At::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => self.size_digit(byte),
            (At::Size | At::SizeSpace, b' ' | b'\t') => self.extension_byte(At::SizeSpace),
            (At::Size | At::SizeSpace, b';') => self.extension_byte(At::Extension),
            (At::Size | At::SizeSpace | At::Extension, b'\r') => Ok(At::SizeLf),
            (At::Extension, b'\t' | b' '..=b'~' | 0x80..) => self.extension_byte(At::Extension),
            (At::SizeLf, b'\n') if self.size == 0 => Ok(At::LineStart),
            (At::SizeLf, b'\n') => Ok(At::Bytes),
            (At::BytesCr, b'\r') => Ok(At::BytesLf),
            (At::BytesLf, b'\n') => Ok(At::SizeStart),
            (At::LineStart, b'\r') => Ok(At::EndLf),
            (At::EndLf, b'\n') => Ok(At::Done),
            (At::LineStart | At::TrailerName | At::TrailerValue | At::TrailerLf, _) => {
                self.trailer_byte(byte)
            }
            (At::Extension, _) => Err(BadBody::Extension),
            (At::SizeStart | At::Size | At::SizeSpace, _) => Err(BadBody::ChunkSize),
            (At::SizeLf | At::BytesCr | At::BytesLf, _) => Err(BadBody::ChunkEnd),
            (At::EndLf, _) => Err(BadBody::Trailer),
            (At::Bytes | At::Done, _) => unreachable!("feed steps over a chunk's bytes and stops at the end"),
        }
    }

    /// Leading zeros are legal without end, so they are bounded like extensions.
    fn size_digit(&mut self, digit: u8) -> Result<At, BadBody> {
        if self.at == At::Size && self.size == 0 {
            self.extension_byte(At::Size)?;
        }
        let digit = char::from(digit).to_digit(16).expect("the caller matched a hexadecimal digit");
        let size = self.size.checked_mul(16).ok_or(BadBody::ChunkSize)?;
        self.size = size + u64::from(digit);
        Ok(At::Size)
    }

    fn extension_byte(&mut self, at: At) -> Result<At, BadBody> {
        self.extension_bytes += 1;
        if self.extension_bytes > EXTENSION_BYTES_MAX { Err(BadBody::ExtensionsTooLong) } else { Ok(at) }
    }

    fn trailer_byte(&mut self, byte: u8) -> Result<At, BadBody> {
        self.trailer_bytes += 1;
        if self.at == At::LineStart {
            self.trailer_fields += 1;
        }
        if self.trailer_bytes > TRAILER_BYTES_MAX || self.trailer_fields > TRAILER_FIELDS_MAX {
            return Err(BadBody::TrailersTooLong);
        }
        match (self.at, byte) {
            (At::TrailerName, b':') => Ok(At::TrailerValue),
            (At::LineStart | At::TrailerName, _) if crate::field::is_token_byte(byte) => Ok(At::TrailerName),
            (At::TrailerValue, b'\r') => Ok(At::TrailerLf),
            (At::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => Ok(At::TrailerValue),
            (At::TrailerLf, b'\n') => Ok(At::LineStart),
            _ => Err(BadBody::Trailer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(bytes: &[u8]) -> Result<BodyProgress, BadBody> {
        let whole = Chunked::new().feed(bytes);
        // Byte by byte the result must be the same.
        let mut reader = Chunked::new();
        let mut consumed = 0;
        let in_pieces = bytes.chunks(1).try_fold(BodyProgress { consumed: 0, done: false }, |_, piece| {
            let progress = reader.feed(piece)?;
            consumed += progress.consumed;
            Ok(BodyProgress { consumed, done: progress.done })
        });
        assert_eq!(in_pieces, whole, "{:?}", bytes.escape_ascii().to_string());
        whole
    }

    #[test]
    fn bodies_with_an_end() {
        for body in [
            "0\r\n\r\n",
            "000\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "5\r\nhello\r\n5\r\nhello\r\n00\r\n\r\n",
            "A\r\n0123456789\r\n0\r\n\r\n",
            "a;name=value;other=\"a b\"\r\n0123456789\r\n0;last\r\n\r\n",
            "5 \t ;x\r\nhello\r\n0 \r\n\r\n",
            "5\r\n\r\n\r\n\n\r\n0\r\n\r\n",
            "0\r\nTrailer: value\r\nOther:\r\n\r\n",
        ] {
            let expected = BodyProgress { consumed: body.len(), done: true };
            assert_eq!(feed(body.as_bytes()), Ok(expected), "{body:?}");
            let surplus = format!("{body}HTTP/1.1");
            assert_eq!(feed(surplus.as_bytes()), Ok(expected), "what follows is not the body's");
            for cut in 0..body.len() {
                assert_eq!(
                    feed(&body.as_bytes()[..cut]),
                    Ok(BodyProgress { consumed: cut, done: false }),
                    "{body:?}"
                );
            }
        }
    }

    #[test]
    fn bad_bodies() {
        let cases: &[(&str, BadBody)] = &[
            ("\r\n", BadBody::ChunkSize),
            ("x\r\n", BadBody::ChunkSize),
            ("-1\r\n", BadBody::ChunkSize),
            ("+1\r\n", BadBody::ChunkSize),
            ("0x5\r\n", BadBody::ChunkSize),
            (" 5\r\n", BadBody::ChunkSize),
            (";x\r\n", BadBody::ChunkSize),
            ("5 5\r\n", BadBody::ChunkSize),
            ("5\n", BadBody::ChunkSize),
            ("10000000000000000\r\n", BadBody::ChunkSize),
            ("FFFFFFFFFFFFFFFFF\r\n", BadBody::ChunkSize),
            ("5\r\r", BadBody::ChunkEnd),
            ("5\r\nhello0\r\n", BadBody::ChunkEnd),
            ("5\r\nhello\n", BadBody::ChunkEnd),
            ("5\r\nhello\r\r", BadBody::ChunkEnd),
            ("5;a\nb\r\n", BadBody::Extension),
            ("5;a\0\r\n", BadBody::Extension),
            ("5;a\x7f\r\n", BadBody::Extension),
            ("0\r\n\rx", BadBody::Trailer),
            ("0\r\n\n", BadBody::Trailer),
            ("0\r\nno colon\r\n", BadBody::Trailer),
            ("0\r\n: x\r\n", BadBody::Trailer),
            ("0\r\na : x\r\n", BadBody::Trailer),
            ("0\r\na: x\n", BadBody::Trailer),
            ("0\r\na: x\rx", BadBody::Trailer),
            ("0\r\na: x\r\n folded\r\n", BadBody::Trailer),
        ];
        for (body, expected) in cases {
            assert_eq!(feed(body.as_bytes()), Err(*expected), "{body:?}");
        }
    }

    #[test]
    fn the_largest_chunk_is_counted_and_not_kept() {
        let mut reader = Chunked::new();
        let size = b"FFFFFFFFFFFFFFFF\r\n";
        assert_eq!(reader.feed(size), Ok(BodyProgress { consumed: size.len(), done: false }));
        assert_eq!(reader.feed(&[0; 4096]), Ok(BodyProgress { consumed: 4096, done: false }));
        assert_eq!(reader.size, u64::MAX - 4096);
    }

    #[test]
    fn extensions_leading_zeros_and_trailers_end() {
        let extension = |len: usize| format!("5;{}\r\n", "x".repeat(len - 1));
        assert!(feed(extension(16 * 1024).as_bytes()).is_ok());
        assert_eq!(feed(extension(16 * 1024 + 1).as_bytes()), Err(BadBody::ExtensionsTooLong));
        assert_eq!(feed(&[b'0'; 16 * 1024 + 2]), Err(BadBody::ExtensionsTooLong));
        let small = "1;x\r\n.\r\n".repeat(8 * 1024 + 1);
        assert_eq!(feed(small.as_bytes()), Err(BadBody::ExtensionsTooLong), "over all chunks");
        let many = "1\r\n.\r\n".repeat(100_000);
        assert!(feed(many.as_bytes()).is_ok(), "sizes themselves are not limited");

        let trailers = |count: usize| format!("0\r\n{}", "a: b\r\n".repeat(count));
        assert!(feed(trailers(100).as_bytes()).is_ok());
        assert_eq!(feed(trailers(101).as_bytes()), Err(BadBody::TrailersTooLong));
        let long = format!("0\r\na: {}", "b".repeat(16 * 1024));
        assert_eq!(feed(long.as_bytes()), Err(BadBody::TrailersTooLong));
    }
}
