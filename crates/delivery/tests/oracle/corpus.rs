//! Odd answers, what each must mean, and which difference from hyper it shows.

use crate::differences::{Case, DIFFERENCES};
use crate::{Body, Seen, ours, theirs};

use Body::{Broken, Last, Reusable, Waiting};

const fn answer(status: u16, body: Body) -> Seen {
    Seen::Answer { status, body }
}

const REFUSED: Seen = Seen::Refused;

/// The bytes, what the codec must see while the peer keeps the connection open, and the difference from hyper.
type Row = (&'static str, Seen, Option<&'static str>);

const ROWS: &[Row] = &[
    // Lengths.
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", answer(200, Reusable), None),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", answer(200, Waiting), None),
    ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", answer(200, Reusable), None),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", answer(200, Reusable), None),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", answer(200, Reusable), None),
    ("HTTP/1.1 200 OK\r\nContent-Length: 02\r\nContent-Length: 2\r\n\r\nok", answer(200, Reusable), None),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", REFUSED, None),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok", REFUSED, None),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2,\r\n\r\nok", REFUSED, None),
    ("HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", REFUSED, None),
    ("HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok", REFUSED, None),
    ("HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok", REFUSED, None),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2 2\r\n\r\nok", REFUSED, None),
    ("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok", REFUSED, None),
    ("HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok", REFUSED, None),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\u{fc}\r\n\r\nok", REFUSED, None),
    ("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\nok", REFUSED, None),
    ("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551613\r\n\r\nok", answer(200, Waiting), None),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\nok",
        answer(200, Waiting),
        Some("Content-Length of 2^64 - 2 and above"),
    ),
    // Chunked.
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", answer(200, Reusable), None),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        answer(200, Reusable),
        None,
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        answer(200, Reusable),
        None,
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        answer(200, Reusable),
        None,
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b;c=\"d e\"\r\nok\r\n0;x\r\nTrailer: y\r\nOther:\r\n\r\n",
        answer(200, Reusable),
        None,
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2 \t\r\nok\r\n00\r\n\r\n",
        answer(200, Reusable),
        None,
    ),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", answer(200, Waiting), None),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\n",
        answer(200, Waiting),
        None,
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n",
        answer(200, Broken),
        None,
    ),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\n0\n\n", answer(200, Broken), None),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\nok\r\n0\r\n\r\n", answer(200, Broken), None),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nok\r\n0\r\n\r\n",
        answer(200, Broken),
        None,
    ),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\nok\r\n0\r\n\r\n", answer(200, Broken), None),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000002\r\nok\r\n",
        answer(200, Broken),
        None,
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\nok",
        answer(200, Waiting),
        None,
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a\nb\r\nok\r\n0\r\n\r\n",
        answer(200, Broken),
        None,
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a\x0bb\r\nok\r\n0\r\n\r\n",
        answer(200, Broken),
        Some("control bytes in a chunk extension"),
    ),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nno colon\r\n\r\n", answer(200, Broken), None),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\nA: b\r\n\r\n",
        answer(200, Broken),
        Some("bare LF in trailers"),
    ),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", answer(200, Waiting), None),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok", answer(200, Waiting), None),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\nContent-Length: 2\r\n\r\nok", answer(200, Waiting), None),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n", answer(200, Waiting), None),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        answer(200, Waiting),
        Some("chunked twice"),
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked,\r\n\r\n0\r\n\r\n",
        answer(200, Reusable),
        Some("empty element behind chunked"),
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: \u{fc}, chunked\r\n\r\n0\r\n\r\n",
        answer(200, Reusable),
        Some("Transfer-Encoding with bytes above 0x7F"),
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        answer(200, Last),
        Some("Content-Length beside chunked"),
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: two\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        answer(200, Last),
        Some("Content-Length beside chunked"),
    ),
    // No body, and no announced end.
    ("HTTP/1.1 204 No Content\r\n\r\n", answer(204, Reusable), None),
    ("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", answer(204, Reusable), None),
    (
        "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n",
        answer(204, Last),
        Some("a body announced with 204 or 304"),
    ),
    (
        "HTTP/1.1 204 No Content\r\nContent-Length: two\r\n\r\n",
        answer(204, Last),
        Some("a body announced with 204 or 304"),
    ),
    (
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        answer(204, Last),
        Some("a body announced with 204 or 304"),
    ),
    ("HTTP/1.1 304 Not Modified\r\n\r\n", answer(304, Reusable), None),
    ("HTTP/1.1 200 OK\r\n\r\nuntil the end", answer(200, Waiting), None),
    ("HTTP/1.1 200 OK\r\n\r\n", answer(200, Waiting), None),
    // The connection.
    ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", answer(200, Last), None),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Keep-Alive, CLOSE\r\n\r\n",
        answer(200, Last),
        None,
    ),
    (
        "HTTP/1.1 200 OK\r\nConnection: close\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
        answer(200, Last),
        None,
    ),
    ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: closed\r\n\r\n", answer(200, Reusable), None),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: upgrade\r\nUpgrade: h2\r\n\r\n",
        answer(200, Reusable),
        None,
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: \u{fc}, close\r\n\r\n",
        answer(200, Last),
        Some("close beside bytes above 0x7F"),
    ),
    ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", answer(200, Last), None),
    ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok", answer(200, Reusable), None),
    (
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, close\r\n\r\nok",
        answer(200, Last),
        None,
    ),
    ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nok", answer(200, Waiting), None),
    ("HTTP/1.0 204 No Content\r\nConnection: keep-alive\r\n\r\n", answer(204, Reusable), None),
    (
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: \u{fc}, keep-alive\r\n\r\nok",
        answer(200, Reusable),
        Some("keep-alive beside bytes above 0x7F in HTTP/1.0"),
    ),
    (
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n",
        answer(200, Waiting),
        Some("Transfer-Encoding in HTTP/1.0"),
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        answer(200, Last),
        None,
    ),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok!", answer(200, Last), None),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\r\n",
        answer(200, Reusable),
        Some("line ends behind an answer"),
    ),
    // Interim heads.
    ("HTTP/1.1 100 Continue\r\n\r\n", Seen::Waiting, None),
    (
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        answer(200, Reusable),
        None,
    ),
    (
        "HTTP/1.1 102 Processing\r\nContent-Length: 5\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        answer(204, Reusable),
        None,
    ),
    ("HTTP/1.1 199 Odd\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", answer(500, Reusable), None),
    (
        "HTTP/1.0 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        answer(200, Reusable),
        None,
    ),
    (
        "HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        answer(200, Last),
        Some("close in an interim head"),
    ),
    ("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", REFUSED, Some("101")),
    // Heads.
    ("", Seen::Waiting, None),
    ("\r\n\r\n", Seen::Waiting, None),
    ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", Seen::Waiting, None),
    ("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", answer(200, Reusable), None),
    ("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", answer(200, Reusable), None),
    ("HTTP/1.1 200 \u{fc}\r\nContent-Length: 0\r\n\r\n", answer(200, Reusable), None),
    ("HTTP/1.1 200 OK\nContent-Length: 0\n\n", answer(200, Reusable), None),
    ("\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", answer(200, Reusable), None),
    (
        "HTTP/1.1 200 OK\r\nEmpty:\r\n!#$%&'*+-.^_`|~: odd name\r\nContent-Length: 0\r\n\r\n",
        answer(200, Reusable),
        None,
    ),
    ("HTTP/1.1 599 Odd\r\nContent-Length: 0\r\n\r\n", answer(599, Reusable), None),
    ("HTTP/1.1 600 Odd\r\nContent-Length: 0\r\n\r\n", REFUSED, Some("status above 599")),
    ("HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", REFUSED, Some("status above 599")),
    ("HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n", REFUSED, None),
    ("HTTP/1.1 20 OK\r\n\r\n", REFUSED, None),
    ("HTTP/1.1 2000 OK\r\n\r\n", REFUSED, None),
    ("HTTP/1.1  200 OK\r\n\r\n", REFUSED, None),
    ("HTTP/1.1\t200 OK\r\n\r\n", REFUSED, None),
    ("HTTP/1.2 200 OK\r\n\r\n", REFUSED, None),
    ("HTTP/2.0 200 OK\r\n\r\n", REFUSED, None),
    ("HTTP/0.9 200 OK\r\n\r\n", REFUSED, None),
    ("http/1.1 200 OK\r\n\r\n", REFUSED, None),
    ("ICY 200 OK\r\n\r\n", REFUSED, None),
    ("<html></html>", REFUSED, None),
    ("\x15\x03\x03\x00\x02\x02\x28", REFUSED, None),
    (" HTTP/1.1 200 OK\r\n\r\n", REFUSED, None),
    ("\rHTTP/1.1 200 OK\r\n\r\n", REFUSED, None),
    ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", REFUSED, None),
    ("HTTP/1.1 200 OK\r\n: no name\r\n\r\n", REFUSED, None),
    ("HTTP/1.1 200 OK\r\nName : x\r\nContent-Length: 0\r\n\r\n", REFUSED, None),
    ("HTTP/1.1 200 OK\r\nN\u{fc}: x\r\nContent-Length: 0\r\n\r\n", REFUSED, None),
    ("HTTP/1.1 200 OK\r\nName: a\0b\r\nContent-Length: 0\r\n\r\n", REFUSED, None),
    ("HTTP/1.1 200 OK\r\nName: a\rb\r\nContent-Length: 0\r\n\r\n", REFUSED, None),
    ("HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n", REFUSED, None),
    ("HTTP/1.1 200 OK\r\n Name: folded first\r\nContent-Length: 0\r\n\r\n", REFUSED, None),
    (
        "HTTP/1.1 200 OK\r\nName: one\r\n\ttwo\r\nContent-Length: 0\r\n\r\n",
        answer(200, Reusable),
        Some("folded field"),
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection:\r\n close\r\n\r\n",
        answer(200, Last),
        Some("folded field"),
    ),
];

/// Answers too long to write out.
fn long_rows() -> Vec<(String, Seen, Option<&'static str>)> {
    let fields = |count: usize| format!("HTTP/1.1 204 No Content\r\n{}\r\n", "A: b\r\n".repeat(count));
    let long = |len: usize| format!("HTTP/1.1 204 No Content\r\nA: {}\r\n\r\n", "b".repeat(len));
    let chunked = |body: &str| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    let interim = "HTTP/1.1 100 Continue\r\nA: b\r\n\r\n";
    vec![
        (fields(100), answer(204, Reusable), None),
        (fields(101), REFUSED, None),
        (format!("{interim}{}", fields(100)), REFUSED, Some("limits of a head")),
        (long(65_000), answer(204, Reusable), None),
        (long(66_000), REFUSED, Some("limits of a head")),
        (format!("{}{}", interim.repeat(3000), fields(0)), REFUSED, Some("limits of a head")),
        (chunked(&format!("{}0\r\n\r\n", "1\r\n.\r\n".repeat(20_000))), answer(200, Reusable), None),
        (chunked(&format!("0;{}\r\n\r\n", "x".repeat(16_000))), answer(200, Reusable), None),
        (chunked(&format!("0;{}\r\n\r\n", "x".repeat(17_000))), answer(200, Broken), None),
        (
            chunked(&format!("0 {}\r\n\r\n", " ".repeat(17_000))),
            answer(200, Broken),
            Some("limits of extensions"),
        ),
        (chunked(&format!("0\r\n{}\r\n", "A: b\r\n".repeat(100))), answer(200, Reusable), None),
        (chunked(&format!("0\r\n{}\r\n", "A: b\r\n".repeat(101))), answer(200, Broken), None),
        (chunked(&format!("0\r\nA: {}\r\n\r\n", "b".repeat(17_000))), answer(200, Broken), None),
        (
            format!("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n{}", "x".repeat(1_000_000)),
            answer(200, Reusable),
            None,
        ),
    ]
}

/// What the same bytes must mean when the peer closes behind them.
fn once_closed(open: Seen, until_close: bool) -> Seen {
    match open {
        Seen::Waiting | Seen::Refused => Seen::Refused,
        Seen::Answer { status, body: Waiting } if !until_close => answer(status, Broken),
        Seen::Answer { status, body: Broken } => answer(status, Broken),
        Seen::Answer { status, .. } => answer(status, Last),
    }
}

#[test]
fn odd_answers() {
    let mut shown: Vec<&str> = Vec::new();
    let rows = ROWS.iter().map(|(bytes, open, name)| ((*bytes).to_owned(), *open, *name)).chain(long_rows());
    for (bytes, open, difference) in rows {
        let text: String = bytes.escape_debug().take(200).collect();
        for piece in [bytes.len().max(1), 1, 7] {
            let seen = ours::sees(bytes.as_bytes(), piece, false);
            assert_eq!(seen.seen, open, "{text} in pieces of {piece}: {seen:?}");
            let until_close =
                seen.head.is_some_and(|head| head.framing == delivery::codec::Framing::UntilClose);
            let closed = ours::sees(bytes.as_bytes(), piece, true);
            assert_eq!(closed.seen, once_closed(open, until_close), "{text} then closed: {closed:?}");
        }
        let ours = ours::sees(bytes.as_bytes(), bytes.len().max(1), false);
        let case = Case { bytes: bytes.as_bytes(), ours, theirs: theirs::sees(bytes.as_bytes(), false) };
        let explained = (case.ours.seen != case.theirs).then(|| case.explained());
        let name = explained.map(|found| found.map_or("not explained", |found| found.name));
        assert_eq!(name, difference, "{text}: ours {:?}, hyper {:?}", case.ours, case.theirs);
        shown.extend(name);
    }
    for difference in DIFFERENCES {
        assert!(
            shown.contains(&difference.name),
            "no answer shows {:?}: {}",
            difference.name,
            difference.reason
        );
    }
}
