//! How long the body of an answer is, and whether the connection survives it: RFC 9112 sections 6.3 and 9.3,
//! for answers to a POST. A pure function of status, version and the fields of interest.

use super::bad_answer::BadAnswer;
use super::fields::{Coding, Fields, Length};

/// Where the body of an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none: 204, 304.
    None,
    /// After that many bytes.
    Length(u64),
    /// With the chunk of size 0 and its trailers.
    Chunked,
    /// When the peer closes.
    UntilClose,
}

/// Why a connection cannot carry another request after this answer, in the order in which reasons win.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseAfter {
    /// A `close` token in a `Connection` field, of the final head or an interim one.
    AnswerClose,
    /// The framing leaves a doubt where the body ends, or ends it with the connection.
    AnswerFraming,
    /// HTTP/1.0 without `Connection: keep-alive`.
    Http10,
}

/// Framing and fate of the connection by a final head.
pub(super) fn of(
    status: u16,
    http10: bool,
    fields: &Fields,
) -> Result<(Framing, Option<CloseAfter>), BadAnswer> {
    let (framing, doubtful) = body(status, http10, fields)?;
    let close = if fields.close {
        Some(CloseAfter::AnswerClose)
    } else if doubtful || framing == Framing::UntilClose {
        Some(CloseAfter::AnswerFraming)
    } else if http10 && !fields.keep_alive {
        Some(CloseAfter::Http10)
    } else {
        None
    };
    Ok((framing, close))
}

/// The rules of section 6.3 in their order; the second value says that the length is certain by the letter but a peer
/// that writes such heads may send other bytes than it announces, so that the connection is not used again.
fn body(status: u16, http10: bool, fields: &Fields) -> Result<(Framing, bool), BadAnswer> {
    // Rule 1: no body, whatever the fields say. A peer that announces one all the same may well send it.
    if matches!(status, 204 | 304) {
        let announced = !matches!(fields.length, Length::Absent | Length::Known(0));
        return Ok((Framing::None, announced || fields.coding != Coding::Absent));
    }
    match (fields.coding, fields.length) {
        // Rule 5. With a transfer coding an invalid Content-Length is overridden (rule 3), not an error.
        (Coding::Absent, Length::Invalid) => Err(BadAnswer::ContentLength),
        // Rule 6.
        (Coding::Absent, Length::Known(length)) => Ok((Framing::Length(length), false)),
        // Rules 3 and 4. A Content-Length beside the coding is a sign of a confused or hostile peer.
        // In HTTP/1.0 a coding makes the framing faulty (section 6.1), so it falls through to rule 8.
        (Coding::ChunkedLast, length) if !http10 => Ok((Framing::Chunked, length != Length::Absent)),
        // Rule 8, and the end of rule 4: no length, or a coding that does not end in chunked.
        _ => Ok((Framing::UntilClose, true)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMING: Option<CloseAfter> = Some(CloseAfter::AnswerFraming);
    const CLOSE: Option<CloseAfter> = Some(CloseAfter::AnswerClose);
    const HTTP10: Option<CloseAfter> = Some(CloseAfter::Http10);

    fn framing(status: u16, http10: bool, lines: &str) -> Result<(Framing, Option<CloseAfter>), BadAnswer> {
        let mut fields = Fields::default();
        for line in lines.split('|').filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ").expect("a case is Name: value|Name: value");
            fields.add(name, value.as_bytes());
        }
        of(status, http10, &fields)
    }

    /// Status, field lines, and what they mean.
    type Case = (u16, &'static str, (Framing, Option<CloseAfter>));

    #[test]
    fn every_rule_of_section_6_3() {
        let cases: &[Case] = &[
            (200, "Content-Length: 5", (Framing::Length(5), None)),
            (200, "Content-Length: 0", (Framing::Length(0), None)),
            (200, "Content-Length: 18446744073709551615", (Framing::Length(u64::MAX), None)),
            (200, "Content-Length: 0005", (Framing::Length(5), None)),
            (200, "Content-Length: 5, 5", (Framing::Length(5), None)),
            (200, "Content-Length: 5|content-length: 05", (Framing::Length(5), None)),
            (200, "Transfer-Encoding: chunked", (Framing::Chunked, None)),
            (200, "Transfer-Encoding: Chunked", (Framing::Chunked, None)),
            (200, "Transfer-Encoding: gzip, chunked", (Framing::Chunked, None)),
            (200, "Transfer-Encoding: gzip|Transfer-Encoding: chunked,", (Framing::Chunked, None)),
            (200, "Transfer-Encoding: chunked, gzip", (Framing::UntilClose, FRAMING)),
            (200, "Transfer-Encoding: chunked, chunked", (Framing::UntilClose, FRAMING)),
            (200, "Transfer-Encoding: chunked;a=b", (Framing::UntilClose, FRAMING)),
            (200, "Transfer-Encoding: identity", (Framing::UntilClose, FRAMING)),
            (200, "Transfer-Encoding: ", (Framing::UntilClose, FRAMING)),
            (200, "Transfer-Encoding: xchunked", (Framing::UntilClose, FRAMING)),
            (200, "Transfer-Encoding: chunked|Content-Length: 5", (Framing::Chunked, FRAMING)),
            (200, "Content-Length: 5|Transfer-Encoding: chunked", (Framing::Chunked, FRAMING)),
            (200, "Content-Length: -5|Transfer-Encoding: chunked", (Framing::Chunked, FRAMING)),
            (200, "Content-Length: 5|Transfer-Encoding: gzip", (Framing::UntilClose, FRAMING)),
            (200, "", (Framing::UntilClose, FRAMING)),
            (204, "", (Framing::None, None)),
            (204, "Content-Length: 0", (Framing::None, None)),
            (204, "Content-Length: 5", (Framing::None, FRAMING)),
            (204, "Content-Length: five", (Framing::None, FRAMING)),
            (204, "Transfer-Encoding: chunked", (Framing::None, FRAMING)),
            (304, "", (Framing::None, None)),
            (304, "Content-Length: 5", (Framing::None, FRAMING)),
            (205, "Content-Length: 0", (Framing::Length(0), None)),
            (500, "Content-Length: 5|Connection: close", (Framing::Length(5), CLOSE)),
            (200, "Content-Length: 5|Connection: Keep-Alive, Close", (Framing::Length(5), CLOSE)),
            (200, "Content-Length: 5|Connection: close|Connection: keep-alive", (Framing::Length(5), CLOSE)),
            (200, "Content-Length: 5|Connection: keep-alive", (Framing::Length(5), None)),
            (200, "Content-Length: 5|Connection: closed, not-close", (Framing::Length(5), None)),
            (200, "Content-Length: 5|Proxy-Connection: close", (Framing::Length(5), None)),
            (200, "Connection: close", (Framing::UntilClose, CLOSE)),
        ];
        for (status, lines, expected) in cases {
            assert_eq!(framing(*status, false, lines), Ok(*expected), "{status} {lines:?}");
        }
    }

    #[test]
    fn http_1_0() {
        let cases: &[Case] = &[
            (200, "Content-Length: 5", (Framing::Length(5), HTTP10)),
            (200, "Content-Length: 5|Connection: keep-alive", (Framing::Length(5), None)),
            (200, "Content-Length: 5|Connection: keep-alive, close", (Framing::Length(5), CLOSE)),
            (200, "Transfer-Encoding: chunked|Connection: keep-alive", (Framing::UntilClose, FRAMING)),
            (200, "Transfer-Encoding: chunked|Content-Length: 5", (Framing::UntilClose, FRAMING)),
            (200, "Connection: keep-alive", (Framing::UntilClose, FRAMING)),
            (204, "", (Framing::None, HTTP10)),
            (204, "Connection: keep-alive", (Framing::None, None)),
        ];
        for (status, lines, expected) in cases {
            assert_eq!(framing(*status, true, lines), Ok(*expected), "{status} {lines:?}");
        }
    }

    #[test]
    fn an_invalid_content_length_is_no_answer() {
        for value in [
            "",
            "+5",
            "-5",
            "5 5",
            "0x5",
            "5.0",
            "five",
            "5,",
            ",5",
            "5, 6",
            "5,,5",
            "18446744073709551616",
            "99999999999999999999999999",
        ] {
            let mut fields = Fields::default();
            fields.add("Content-Length", value.as_bytes());
            assert_eq!(of(200, false, &fields), Err(BadAnswer::ContentLength), "{value:?}");
        }
        assert_eq!(framing(200, false, "Content-Length: 5|Content-Length: 6"), Err(BadAnswer::ContentLength));
        assert_eq!(framing(200, false, "Content-Length: x|Content-Length: 6"), Err(BadAnswer::ContentLength));
    }
}
