//! Ready-made answers: lists of steps with a name.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::script::Step;
use crate::gate::Gate;

/// A list of steps. Made by a constructor, changed by the methods that take `self`.
///
/// ```no_run
/// # use std::time::Duration;
/// # use testkit::endpoint::{Answer, Step};
/// Answer::ok();                                             // 200, one packet
/// Answer::status(503).header("Retry-After", "2");
/// Answer::ok().after(Duration::from_secs(7));
/// Answer::ok().before_body();                               // the answer comes first, then the body is read
/// Answer::status(413).before_body().closing();              // "Connection: close", and it does
/// Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n");
/// Answer::steps([Step::ReadBodyBytes(1000), Step::Reset]);
/// ```
#[derive(Clone, Debug)]
pub struct Answer {
    pub(super) steps: Vec<Step>,
}

impl Answer {
    /// 200 with the body `ok`, head and body in one packet.
    pub fn ok() -> Self {
        Self::raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    }

    /// This status with an empty body of known length (no Content-Length for 1xx, 204 and 304).
    pub fn status(status: u16) -> Self {
        match status {
            100..=199 | 204 | 304 => Self::raw(format!("HTTP/1.1 {status} Scripted\r\n\r\n")),
            _ => Self::raw(format!("HTTP/1.1 {status} Scripted\r\nContent-Length: 0\r\n\r\n")),
        }
    }

    /// Reads the body, then sends exactly these bytes in one write.
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self::steps([Step::ReadBody, Step::Send(bytes.into())])
    }

    /// Exactly these steps. A body they leave unread is read to its end afterwards, unless they closed the connection.
    pub fn steps(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect() }
    }

    /// 200 with this many bytes of body, in one write.
    pub fn with_body(len: usize) -> Self {
        let mut bytes = BytesMut::from(format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n").as_str());
        bytes.resize(bytes.len() + len, b'x');
        Self::raw(bytes)
    }

    /// 200 whose head and body come this far apart.
    pub fn split(pause: Duration) -> Self {
        Self::steps([
            Step::ReadBody,
            Step::Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n".into()),
            Step::Sleep(pause),
            Step::Send("ok".into()),
        ])
    }

    /// 200 with so many chunks, all in one packet.
    pub fn chunked(chunks: usize) -> Self {
        let mut bytes = String::from("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        (0..chunks).for_each(|_| bytes.push_str("5;ext=\"a;b\"\r\nhello\r\n"));
        Self::raw(bytes + "0\r\n\r\n")
    }

    /// 200, chunked, with two trailer fields.
    pub fn trailers() -> Self {
        Self::raw(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n",
        )
    }

    /// 204, which has no body and no Content-Length.
    pub fn no_content() -> Self {
        Self::status(204)
    }

    /// A 103 before a 200: in a packet of its own, so early, then the final head with the next one.
    pub fn after_1xx() -> Self {
        Self::steps([
            Step::ReadBody,
            Step::Send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".into()),
            Step::Sleep(Duration::from_millis(2)),
            Step::Send(
                "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".into(),
            ),
        ])
    }

    /// A head that promises `len` bytes, and then that many, in pieces of 64 KiB.
    pub fn huge(len: u64) -> Self {
        const PIECE: u64 = 64 << 10;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n");
        let rest = usize::try_from(len % PIECE).expect("under 64 KiB");
        Self::steps([
            Step::ReadBody,
            Step::Send(head.into()),
            Step::Repeat(vec![b'x'; 64 << 10].into(), Some(len / PIECE)),
            Step::Send(vec![b'x'; rest].into()),
        ])
    }

    /// Chunks of 1 KiB without an end.
    pub fn endless_chunks() -> Self {
        let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
        Self::steps([
            Step::ReadBody,
            Step::Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".into()),
            Step::Repeat(chunk.repeat(16).into(), None),
        ])
    }

    /// A close-delimited body without an end.
    pub fn endless_body() -> Self {
        Self::steps([
            Step::ReadBody,
            Step::Send("HTTP/1.1 200 OK\r\n\r\n".into()),
            Step::Repeat(vec![b'x'; 16 << 10].into(), None),
        ])
    }

    /// A head that promises 2 bytes, then silence.
    pub fn no_end() -> Self {
        Self::steps([
            Step::ReadBody,
            Step::Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no".into()),
            Step::Hang,
        ])
    }

    /// Reads the request and never answers.
    pub fn never() -> Self {
        Self::steps([Step::ReadBody, Step::Hang])
    }

    /// Waits before the answer begins, after the body was read.
    pub fn after(self, delay: Duration) -> Self {
        self.before_sending(Step::Sleep(delay))
    }

    /// Waits a random time between the two before the answer begins.
    pub fn after_between(self, min: Duration, max: Duration) -> Self {
        self.before_sending(Step::SleepBetween(min, max))
    }

    /// Stops at the gate before the answer begins.
    pub fn at_gate(self, gate: &Gate) -> Self {
        self.before_sending(Step::Gate(gate.clone()))
    }

    fn before_sending(mut self, step: Step) -> Self {
        let at = self.steps.iter().position(|step| !matches!(step, Step::ReadBody | Step::ReadBodyBytes(_)));
        self.steps.insert(at.unwrap_or(self.steps.len()), step);
        self
    }

    /// Answers as soon as the request's head is in, and reads the body afterwards.
    pub fn before_body(mut self) -> Self {
        self.steps.retain(|step| !matches!(step, Step::ReadBody | Step::ReadBodyBytes(_)));
        self.steps.push(Step::ReadBody);
        self
    }

    /// Answers when this many bytes of the body are in, and reads the rest afterwards.
    pub fn after_body_bytes(self, bytes: u64) -> Self {
        let mut answer = self.before_body();
        answer.steps.insert(0, Step::ReadBodyBytes(bytes));
        answer
    }

    /// Adds a field to the final head.
    ///
    /// # Panics
    /// When the answer sends no head.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let heads = self.steps.iter_mut().rev().filter_map(|step| match step {
            Step::Send(bytes) => final_head(bytes).map(|at| (bytes, at)),
            _ => None,
        });
        let (bytes, at) = { heads }.next().expect("the answer sends a head");
        let line_end = at + bytes[at..].windows(2).position(|two| two == b"\r\n").expect("a status line") + 2;
        let line = format!("{name}: {value}\r\n");
        *bytes = [&bytes[..line_end], line.as_bytes(), &bytes[line_end..]].concat().into();
        self
    }

    /// Adds `Connection: close`, and closes after the answer.
    pub fn closing(self) -> Self {
        self.header("Connection", "close").then(Step::Close)
    }

    /// Adds a step at the end.
    pub fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

/// Where the head with the final status begins, if these bytes begin with heads and one of them is final.
fn final_head(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while bytes[at..].starts_with(b"HTTP/1.") {
        if bytes.get(at + 9).is_some_and(|digit| *digit != b'1') {
            return Some(at);
        }
        at += bytes[at..].windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    }
    None
}

/// The final status in bytes of an answer, if they begin with heads.
pub(super) fn status_in(bytes: &[u8]) -> Option<u16> {
    let at = final_head(bytes)?;
    std::str::from_utf8(bytes.get(at + 9..at + 12)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(answer: &Answer) -> String {
        let sends = answer.steps.iter().filter_map(|step| match step {
            Step::Send(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        });
        sends.collect()
    }

    #[test]
    fn a_field_goes_into_the_final_head() {
        let answer = Answer::after_1xx().header("A", "1");
        assert!(
            sent(&answer)
                .contains("102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 2\r\n\r\nok")
        );
        assert_eq!(status_in(b"HTTP/1.1 103 Early\r\n\r\n"), None);
        assert_eq!(status_in(b"HTTP/1.1 103 E\r\n\r\nHTTP/1.0 404 No\r\n\r\n"), Some(404));
        assert_eq!(status_in(b"ok"), None);
    }

    #[test]
    fn the_body_comes_where_the_answer_says() {
        let names = |answer: Answer| answer.steps.iter().map(Step::name).collect::<Vec<_>>();
        let second = Duration::from_secs(1);
        assert_eq!(names(Answer::ok()), ["read_body", "send"]);
        assert_eq!(names(Answer::ok().after(second)), ["read_body", "sleep", "send"]);
        assert_eq!(names(Answer::ok().before_body()), ["send", "read_body"]);
        assert_eq!(names(Answer::ok().before_body().after(second)), ["sleep", "send", "read_body"]);
        assert_eq!(
            names(Answer::ok().after_body_bytes(9).after(second)),
            ["read_body_bytes", "sleep", "send", "read_body"]
        );
        assert_eq!(names(Answer::ok().closing()), ["read_body", "send", "close"]);
    }
}
