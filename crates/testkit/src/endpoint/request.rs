//! Requests as the endpoint reads them: strict, because a lenient server would hide a client's mistakes.

use std::fmt;

/// The head of a request, with where it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// Which connection, counted from 0 in the order of accepting.
    pub connection: u64,
    /// Which request of that connection, from 0.
    pub on_connection: u64,
    /// Which request of the endpoint, from 0.
    pub serial: u64,
    /// As sent, case kept.
    pub method: String,
    /// As sent.
    pub target: String,
    /// `HTTP/1.1`
    pub version: String,
    /// Names and values in order, case kept, values trimmed.
    pub fields: Vec<(String, String)>,
    /// Length of the head in bytes.
    pub len: usize,
}

impl RequestHead {
    /// The value of the first field of this name, whatever its case.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// How many fields have this name.
    pub fn fields_named(&self, name: &str) -> usize {
        self.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name)).count()
    }

    pub(super) fn body(&self) -> Result<BodyLength, Malformed> {
        let length = self.field("content-length");
        match (length, self.field("transfer-encoding")) {
            (Some(_), Some(_)) => Err(Malformed("Content-Length with Transfer-Encoding".into())),
            (_, Some(coding)) if coding.eq_ignore_ascii_case("chunked") => Ok(BodyLength::Chunked),
            (_, Some(coding)) => Err(Malformed(format!("Transfer-Encoding {coding:?}"))),
            (Some(_), _) if self.fields_named("content-length") > 1 => {
                Err(Malformed("two Content-Length".into()))
            }
            (Some(length), _) if length.bytes().all(|digit| digit.is_ascii_digit()) => length
                .parse()
                .map(BodyLength::Bytes)
                .map_err(|_| Malformed(format!("Content-Length {length:?}"))),
            (Some(length), _) => Err(Malformed(format!("Content-Length {length:?}"))),
            (None, None) => Ok(BodyLength::Bytes(0)),
        }
    }
}

/// How the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyLength {
    Bytes(u64),
    Chunked,
}

/// Not a request this endpoint understands: the client is at fault, and the test should see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// No sane client of ours sends a larger head.
const HEAD_BYTES_MAX: usize = 256 << 10;

/// Parses the head at the start of `bytes`; `None` while it is incomplete. The serials are left 0.
pub(super) fn parse_head(bytes: &[u8]) -> Result<Option<RequestHead>, Malformed> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return match bytes.len() > HEAD_BYTES_MAX {
            true => Err(Malformed(format!("a head over {HEAD_BYTES_MAX} bytes"))),
            false => Ok(None),
        };
    };
    let text =
        std::str::from_utf8(&bytes[..end]).map_err(|_| Malformed("a head that is not UTF-8".into()))?;
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let parts: Vec<&str> = line.split(' ').collect();
    let [method, target, version] = parts[..] else {
        return Err(Malformed(format!("request line {line:?}")));
    };
    if method.is_empty() || target.is_empty() || version != "HTTP/1.1" {
        return Err(Malformed(format!("request line {line:?}")));
    }
    let fields = lines.map(parse_field).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(RequestHead {
        connection: 0,
        on_connection: 0,
        serial: 0,
        method: method.into(),
        target: target.into(),
        version: version.into(),
        fields,
        len: end + 4,
    }))
}

fn parse_field(line: &str) -> Result<(String, String), Malformed> {
    let bad = || Malformed(format!("field line {line:?}"));
    let (name, value) = line.split_once(':').ok_or_else(bad)?;
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) || value.bytes().any(|byte| byte < b' ' && byte != b'\t') {
        return Err(bad());
    }
    Ok((name.into(), value.trim_matches([' ', '\t']).into()))
}

/// Reads a body out of a stream of pieces. `feed` takes what belongs to the body and leaves the rest.
#[derive(Debug)]
pub(super) enum BodyReader {
    Bytes(u64),
    ChunkHead,
    Chunk(u64),
    Trailers,
    Done,
}

impl BodyReader {
    pub(super) fn new(length: BodyLength) -> Self {
        match length {
            BodyLength::Bytes(0) => BodyReader::Done,
            BodyLength::Bytes(left) => BodyReader::Bytes(left),
            BodyLength::Chunked => BodyReader::ChunkHead,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self, BodyReader::Done)
    }

    /// Takes what it can from the front of `bytes`, gives body bytes to `sink`, returns how many bytes it took.
    /// 0 means that it needs more than there is.
    pub(super) fn feed(&mut self, bytes: &[u8], sink: &mut impl FnMut(&[u8])) -> Result<usize, Malformed> {
        let line = |bytes: &[u8]| bytes.windows(2).position(|two| two == b"\r\n");
        match self {
            BodyReader::Done => Ok(0),
            BodyReader::Bytes(left) => {
                let take = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                sink(&bytes[..take]);
                *left -= take as u64;
                if *left == 0 {
                    *self = BodyReader::Done;
                }
                Ok(take)
            }
            BodyReader::ChunkHead => {
                let Some(end) = line(bytes) else { return Ok(0) };
                let size = std::str::from_utf8(&bytes[..end]).unwrap_or_default();
                let size = size.split(';').next().unwrap_or_default().trim();
                let size =
                    u64::from_str_radix(size, 16).map_err(|_| Malformed(format!("chunk size {size:?}")))?;
                *self = if size == 0 { BodyReader::Trailers } else { BodyReader::Chunk(size) };
                Ok(end + 2)
            }
            BodyReader::Chunk(left) => {
                let data = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                sink(&bytes[..data]);
                *left -= data as u64;
                // The CRLF behind the data belongs to the chunk; wait for it with the last byte taken.
                if *left == 0 {
                    match bytes.get(data..data + 2) {
                        Some(b"\r\n") => {
                            *self = BodyReader::ChunkHead;
                            return Ok(data + 2);
                        }
                        Some(_) => return Err(Malformed("a chunk without its CRLF".into())),
                        None => {}
                    }
                }
                Ok(data)
            }
            BodyReader::Trailers => {
                let Some(end) = line(bytes) else { return Ok(0) };
                if end == 0 {
                    *self = BodyReader::Done;
                }
                Ok(end + 2)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(length: BodyLength, bytes: &[u8], step: usize) -> Result<(Vec<u8>, usize), Malformed> {
        let (mut reader, mut body, mut at, mut seen) = (BodyReader::new(length), Vec::new(), 0, 0);
        while !reader.is_done() && seen < bytes.len() {
            seen = (seen + step).min(bytes.len());
            loop {
                let took = reader.feed(&bytes[at..seen], &mut |piece| body.extend_from_slice(piece))?;
                at += took;
                if took == 0 || reader.is_done() {
                    break;
                }
            }
        }
        assert!(reader.is_done(), "the body ended early");
        Ok((body, at))
    }

    #[test]
    fn bodies_end_where_they_end_at_any_cut() {
        let chunked = b"5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nX: 1\r\n\r\nNEXT";
        for step in 1..chunked.len() {
            assert_eq!(
                read(BodyLength::Chunked, chunked, step),
                Ok((b"hello world".to_vec(), chunked.len() - 4))
            );
            assert_eq!(read(BodyLength::Bytes(5), b"helloNEXT", step), Ok((b"hello".to_vec(), 5)));
        }
    }

    #[test]
    fn heads_are_read_strictly() {
        let head = parse_head(b"POST /a?b HTTP/1.1\r\nHost: x\r\nA:  1 \r\n\r\nbody")
            .expect("well formed")
            .expect("complete");
        assert_eq!((head.method.as_str(), head.target.as_str(), head.len), ("POST", "/a?b", 39));
        assert_eq!(head.field("a"), Some("1"));
        assert_eq!(parse_head(b"POST / HTTP/1.1\r\nHost: x\r\n"), Ok(None));
        for bad in [
            "POST  / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.0\r\n\r\n",
            "POST / HTTP/1.1\r\nA b: 1\r\n\r\n",
            "POST / HTTP/1.1\r\n A: 1\r\n\r\n",
        ] {
            assert!(parse_head(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
