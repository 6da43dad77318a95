//! All that the two answer differently over HTTP, with the reason. `docs/broker.md` has the same list.

use testkit::process::Nsqd;

use crate::raw::{exchange, request};
use crate::served::{Served, settings};

/// A request, the status and body of nsqd, those of the broker, and why. `*` is any body.
type Difference = (&'static str, Vec<u8>, (u16, &'static str), (u16, &'static str), &'static str);

fn table() -> Vec<Difference> {
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes();
    let unknown = (400, r#"{"message":"INVALID_OPTION"}"#);
    let nowhere = (404, r#"{"message":"NOT_FOUND"}"#);
    vec![
        ("pprof", get("/debug/pprof/cmdline"), (200, "*"), nowhere, "Go's own insides"),
        (
            "free memory",
            request("POST", "/debug/freememory", b""),
            (500, r#"{"message":"INTERNAL_ERROR"}"#),
            nowhere,
            "Go's own insides; nsqd does it, then fails",
        ),
        (
            "an option without meaning",
            get("/config/sync_every"),
            (200, "2500"),
            unknown,
            "its default would be a lie",
        ),
        ("a disk queue's option", get("/config/max_bytes_per_file"), (200, "104857600"), unknown, "likewise"),
        (
            "no HTTP",
            b"GARBAGE\r\n\r\n".to_vec(),
            (400, "400 Bad Request"),
            (400, ""),
            "hyper gives no reason",
        ),
        (
            "a target that is no URI",
            get("/ping?<>"),
            (200, "OK"),
            (400, ""),
            "hyper takes only what RFC 3986 allows",
        ),
        (
            "a counted body in chunks beyond the limit",
            chunked_beyond_the_limit(),
            (200, "OK"),
            (413, r#"{"message":"BODY_TOO_BIG"}"#),
            "nsqd holds only an announced length against the limit: a body in chunks may be of any size",
        ),
    ]
}

fn chunked_beyond_the_limit() -> Vec<u8> {
    let mut body = 10_i32.to_be_bytes().to_vec();
    for _ in 0..10 {
        body.extend(600_i32.to_be_bytes());
        body.extend([b'x'; 600]);
    }
    let head = "POST /mpub?topic=t&binary=true HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("{head}{:x}\r\n", body.len());
    [chunk.as_bytes(), &body, b"\r\n0\r\n\r\n"].concat()
}

#[test]
fn every_listed_difference_is_one_and_no_other() {
    let nsqd = Nsqd::start(&["--max-msg-size=1000", "--max-body-size=5000"]);
    let broker = Served::start(broker::Settings { max_msg_size: 1_000, max_body_size: 5_000, ..settings() });
    for (name, request, theirs, ours, _why) in table() {
        for (who, address, (code, body)) in
            [("nsqd", nsqd.http_address(), theirs), ("the broker", broker.http(), ours)]
        {
            let answer = exchange(address, &request);
            assert_eq!(answer.code(), code, "{name}: {who}: {}", answer.body);
            assert!(body == "*" || answer.body == body, "{name}: {who}: {}", answer.body);
        }
    }
}
