//! Made-up answers through the codec and hyper.
//!
//! An input is a program. Its first byte decides: below 0x80 the whole program is [`pieces`], so that a seed in the corpus
//! is readable text. Above, it is a status line, some field lines, an empty line and then pieces, so that chance gets
//! behind the head.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::differences::Case;
use crate::{Body, Seen, ours, theirs};

const STATUS_LINES: [&str; 8] = [
    "HTTP/1.1 200 OK",
    "HTTP/1.1 200",
    "HTTP/1.1 503 No",
    "HTTP/1.0 200 OK",
    "HTTP/1.1 204 No Content",
    "HTTP/1.1 304 Not Modified",
    "HTTP/1.1 100 Continue",
    "HTTP/1.0 204 No Content",
];

const FIELD_LINES: [&str; 24] = [
    "Content-Length: 2",
    "Content-Length: 0",
    "content-length:2,2",
    "Content-Length: 02",
    "Content-Length: 18446744073709551615",
    "Content-Length: -1",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "transfer-encoding:chunked ,",
    "Transfer-Encoding: chunked, gzip",
    "Transfer-Encoding: Chunked, chunked",
    "Transfer-Encoding: \u{fc}, chunked",
    "Transfer-Encoding:",
    "Connection: close",
    "Connection: keep-alive",
    "connection: x, Close",
    "Connection: \u{fc}, keep-alive",
    "Connection:\r\n\tclose",
    "Retry-After: 120",
    "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT",
    "Server: x\r\n y",
    "A:",
    "B :",
];

const PIECES: [&[u8]; 32] = [
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b"0\r\n\r\n",
    b"0\r\n",
    b"2\r\nok\r\n",
    b"2\r\nok\r\n",
    b"5;a=b\r\nhello\r\n",
    b"00",
    b"FFFFFFFFFFFFFFFF",
    b"1",
    b"ok",
    b"A: b\r\n",
    b"A:",
    b":",
    b";",
    b",",
    b" ",
    b"\t",
    b"\xff",
    b"\0",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n",
    b"HTTP/1.1 ",
    b"Content-Length: 2\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"chunked",
    b"close",
    b"keep-alive",
];

fn answer(program: &[u8]) -> Vec<u8> {
    match program {
        [start @ 0x80..=0xFF, counts, rest @ ..] => {
            // Few of each, so that what is complete is often not followed by more.
            let (fields, rest) = rest.split_at(rest.len().min(usize::from(counts % 5)));
            let rest = &rest[..rest.len().min(usize::from(counts / 32))];
            let start = STATUS_LINES[usize::from(*start) % STATUS_LINES.len()];
            let lines = fields.iter().map(|code| FIELD_LINES[usize::from(*code) % FIELD_LINES.len()]);
            let mut bytes = Vec::new();
            for line in std::iter::once(start).chain(lines) {
                bytes.extend_from_slice(line.as_bytes());
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"\r\n");
            bytes.extend(pieces(rest));
            bytes
        }
        _ => pieces(program),
    }
}

/// A byte below 0x80 stands for itself, one above for a piece of HTTP.
fn pieces(codes: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &code in codes {
        match code {
            0..0x80 => bytes.push(code),
            _ => bytes.extend_from_slice(PIECES[usize::from(code) % PIECES.len()]),
        }
    }
    bytes
}

/// How many of the made-up answers were complete, each kind of end for itself: chance must reach all of them.
#[derive(Debug, Default)]
struct Reached {
    refused: AtomicUsize,
    broken: AtomicUsize,
    last: AtomicUsize,
    reusable: AtomicUsize,
}

impl Reached {
    fn count(&self, seen: Seen) {
        let counter = match seen {
            Seen::Waiting | Seen::Answer { body: Body::Waiting, .. } => return,
            Seen::Refused => &self.refused,
            Seen::Answer { body: Body::Broken, .. } => &self.broken,
            Seen::Answer { body: Body::Last, .. } => &self.last,
            Seen::Answer { body: Body::Reusable, .. } => &self.reusable,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// The same outcome however the bytes are cut, and the same as hyper's or explained.
#[test]
fn made_up_answers() {
    let reached = Reached::default();
    bolero::check!(name = "answers").with_iterations(4000).with_max_len(64).for_each(|program: &[u8]| {
        let bytes = answer(program);
        for closes in [false, true] {
            let ours = ours::sees(&bytes, bytes.len().max(1), closes);
            for piece in [1, 3] {
                let cut = ours::sees(&bytes, piece, closes);
                // In pieces, garbage may go unnoticed until it has doubled or the peer closes.
                let unnoticed = (cut.seen, ours.seen) == (Seen::Waiting, Seen::Refused);
                let same = (cut.seen, cut.head, cut.bad_body) == (ours.seen, ours.head, ours.bad_body);
                assert!(same || unnoticed, "in pieces of {piece}: {cut:?}, whole: {ours:?}");
            }
            reached.count(ours.seen);
            let case = Case { bytes: &bytes, ours, theirs: theirs::sees(&bytes, closes) };
            assert!(
                case.ours.seen == case.theirs || case.explained().is_some(),
                "{:?}, then {}: ours {:?}, hyper {:?}",
                bytes.escape_ascii().to_string(),
                if closes { "closed" } else { "open" },
                case.ours,
                case.theirs
            );
        }
    });
    println!("reached {reached:?}");
    let Reached { refused, broken, last, reusable } = reached;
    for counter in [refused, broken, last, reusable] {
        assert!(counter.into_inner() > 0, "the made-up answers leave out a kind of end");
    }
}
