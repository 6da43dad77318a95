//! HTTP by hand: the bytes of a request, and an answer as it came.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer, comparable: the Date is left out, the other fields are in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Without the version.
    pub(crate) status: String,
    pub(crate) fields: Vec<String>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn code(&self) -> u16 {
        self.status.split(' ').next().and_then(|code| code.parse().ok()).expect("a status")
    }
}

/// Sends `request` and reads one answer.
pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket option");
    stream.write_all(request).expect("it reads");
    read_answer(&mut stream, request.starts_with(b"HEAD "))
}

/// Reads one answer; `head` says that it has no body whatever its length.
pub(crate) fn read_answer(stream: &mut impl Read, head: bool) -> Answer {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        let mut more = [0; 4096];
        let count = stream.read(&mut more).expect("an answer in time");
        assert_ne!(count, 0, "it closed after {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&more[..count]);
    };
    let text = String::from_utf8(bytes[..end].to_vec()).expect("a head in ASCII");
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split_once(' ')).expect("a status line").1.to_owned();
    let mut fields: Vec<String> =
        lines.filter(|line| !line.starts_with("Date:")).map(str::to_owned).collect();
    fields.sort();
    let length = fields.iter().find_map(|field| field.strip_prefix("Content-Length: "));
    let length = length.map(|length| length.parse::<usize>().expect("a length"));
    let mut body = bytes.split_off(end + 4);
    match length {
        _ if head => {}
        Some(length) => {
            let have = body.len();
            body.resize(length.max(have), 0);
            stream.read_exact(&mut body[have..]).expect("the whole body");
        }
        None => drop(stream.read_to_end(&mut body).expect("a body up to the end")),
    }
    Answer { status, fields, body: String::from_utf8_lossy(&body).into_owned() }
}

/// A request as bytes.
pub(crate) fn request(method: &str, target: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

pub(crate) fn get(address: SocketAddr, target: &str) -> Answer {
    exchange(address, format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
}

pub(crate) fn post(address: SocketAddr, target: &str, body: &[u8]) -> Answer {
    exchange(address, &request("POST", target, body))
}

/// As [`post`], and anything but a 200 is a panic.
#[track_caller]
pub(crate) fn do_post(address: SocketAddr, target: &str, body: &[u8]) {
    let answer = post(address, target, body);
    assert_eq!(answer.code(), 200, "{target}: {}", answer.body);
}
