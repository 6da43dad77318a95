//! Whatever a user may write as URL, `host` and headers: it is refused, or a request with exactly these parts comes out,
//! as an independent parser reads it. So no setting can smuggle a second request, or a field of the connection's own.

use std::time::UNIX_EPOCH;

use delivery::{EndpointUrl, FieldName, HeadTemplate, HostField, StaticHeaders, retry_after};

/// Fields that belong to the connection: of these a request has `Host` and `Content-Length`, once each.
const OWN: [&str; 10] = [
    "transfer-encoding",
    "trailer",
    "connection",
    "keep-alive",
    "upgrade",
    "te",
    "accept-encoding",
    "expect",
    "proxy-authorization",
    "proxy-connection",
];

/// Parts that chance would not find.
const PIECES: [&str; 16] = [
    "https://",
    "http://",
    "host",
    "[::1]",
    ":8080",
    "/path",
    "?q=%20",
    "Content-Length",
    "Transfer-Encoding: chunked",
    "X-Key: value",
    "\r\n",
    "\r\n\r\n",
    "\0",
    " ",
    "%",
    "\u{fc}",
];

/// A byte below 0x80 stands for itself, one above for one of the pieces.
fn text(codes: &[u8]) -> String {
    let piece = |code: &u8| match code {
        0..0x80 => char::from(*code).to_string(),
        _ => PIECES[usize::from(*code) % PIECES.len()].to_owned(),
    };
    codes.iter().map(piece).collect()
}

#[test]
fn settings_make_one_request_or_none() {
    bolero::check!(name = "settings")
        .with_type::<(Vec<u8>, Vec<u8>, Vec<Vec<u8>>, Vec<u8>)>()
        .with_iterations(4000)
        .for_each(|(url, host, lines, value)| {
            let url = EndpointUrl::parse(&text(url))
                .or_else(|_| EndpointUrl::parse(&format!("http://{}", text(url))));
            let url = url.unwrap_or_else(|_| EndpointUrl::parse("https://h/").expect("a valid URL"));
            let host = HostField::new(&text(host)).ok();
            let mut headers = StaticHeaders::new();
            let accepted = lines.iter().filter(|line| headers.add_line(&text(line)).is_ok()).count();
            let mut own_line = Vec::new();
            let name = FieldName::new("X-Own").expect("a valid name");
            let own = usize::from(name.write_line(&mut own_line, value).is_ok());

            let mut head = Vec::new();
            HeadTemplate::new(&url, host.as_ref(), &headers).write(&mut head, None, &own_line, 7);
            let given = ["Content-Type", "User-Agent"].iter().filter(|name| headers.contains(name)).count();
            read_back(&head, url.target(), 2 + 2 - given + accepted + own);
        });
}

fn read_back(head: &[u8], target: &str, fields: usize) {
    let mut slots = vec![httparse::EMPTY_HEADER; fields + 1];
    let mut request = httparse::Request::new(&mut slots);
    let parsed = request.parse(head).expect("a head that we accepted is valid");
    assert_eq!(parsed, httparse::Status::Complete(head.len()), "the head ends where we end it");
    assert_eq!((request.method, request.path, request.version), (Some("POST"), Some(target), Some(1)));
    assert_eq!(request.headers.len(), fields);
    let count =
        |name: &str| request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count();
    assert_eq!((count("host"), count("content-length")), (1, 1));
    assert!(OWN.iter().all(|name| count(name) == 0));
}

#[test]
fn any_retry_after_is_a_delay_or_none() {
    bolero::check!(name = "retry_after").with_iterations(4000).for_each(|value: &[u8]| {
        let delay = retry_after::delay(value, UNIX_EPOCH);
        assert!(delay.is_none_or(|delay| delay.as_secs() <= 366 * 86_400));
    });
}
