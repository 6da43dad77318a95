//! `/pub` and `/mpub`.
//!
//! The answer goes out once the group commit that carries the messages is durable. As at nsqd a topic is created as soon as its name is known to
//! be good, even if what follows is refused.

use std::time::Duration;

use bytes::Bytes;
use hyper::Request;
use hyper::body::{Body as _, Incoming};

use super::Api;
use super::answer::{Rejected, Said};
use super::query::{Query, flag};
use crate::settings::Settings;

const MSG_TOO_BIG: Rejected = Rejected::too_large("MSG_TOO_BIG");
const BODY_TOO_BIG: Rejected = Rejected::too_large("BODY_TOO_BIG");
const BAD_BODY: Rejected = Rejected::too_large("BAD_BODY");
const BAD_MESSAGE: Rejected = Rejected::too_large("BAD_MESSAGE");

impl Api {
    /// `POST /pub?topic=...&defer=...`: the body is the message.
    pub(super) async fn publish(&self, request: Request<Incoming>) -> Result<Said, Rejected> {
        let limit = self.broker.settings.max_msg_size;
        if announced(&request) > limit {
            return Err(MSG_TOO_BIG);
        }
        let (head, body) = request.into_parts();
        let body = self.bodies.read(body, limit).await?;
        if body.too_long {
            return Err(MSG_TOO_BIG);
        }
        if body.bytes.is_empty() {
            return Err(Rejected::bad_request("MSG_EMPTY"));
        }
        let query = Query::parse(head.uri.query())?;
        let topic = query.topic()?;
        let defer = match query.get("defer").map(|text| defer(text, self.broker.settings.max_req_timeout)) {
            None => Duration::ZERO,
            Some(Some(defer)) => defer,
            Some(None) => {
                self.broker.queue.create_topic(&topic)?;
                return Err(Rejected::bad_request("INVALID_DEFER"));
            }
        };
        let commit = self.broker.queue.publish(&topic, std::slice::from_ref(&body.bytes), defer)?;
        self.broker.queue.committed(commit).await?;
        Ok(Said::OK())
    }

    /// `POST /mpub?topic=...&binary=...`: the body is messages, one a line, or counted and each behind its length.
    pub(super) async fn publish_many(&self, request: Request<Incoming>) -> Result<Said, Rejected> {
        let settings = &self.broker.settings;
        if announced(&request) > settings.max_body_size {
            return Err(BODY_TOO_BIG);
        }
        let query = Query::parse(request.uri().query())?;
        let topic = query.topic()?;
        // nsqd takes any other word for yes.
        let binary = query.get("binary").is_some_and(|text| flag(text).unwrap_or(true));
        let body = self.bodies.read(request.into_body(), settings.max_body_size).await?;
        let messages = match binary {
            true if body.too_long => Err(BODY_TOO_BIG),
            true => counted(&body.bytes, settings),
            false => lines(&body.bytes, body.too_long, settings.max_msg_size),
        };
        let queue = &self.broker.queue;
        let commit = match messages {
            Ok(messages) if !messages.is_empty() => queue.publish(&topic, &messages, Duration::ZERO)?,
            empty => {
                let commit = queue.create_topic(&topic)?;
                empty?;
                commit
            }
        };
        queue.committed(commit).await?;
        Ok(Said::OK())
    }
}

/// What the head says of the body's length; nothing for one in chunks.
fn announced(request: &Request<Incoming>) -> u64 {
    request.body().size_hint().exact().unwrap_or(0)
}

/// Milliseconds, no more than REQ could ask for.
fn defer(text: &str, max: Duration) -> Option<Duration> {
    let defer = Duration::from_millis(text.parse::<i64>().ok()?.try_into().ok()?);
    (defer <= max).then_some(defer)
}

/// The lines of a body, without empty ones. A line that is too long is found before the body is, if it ends before the body's limit.
fn lines(body: &Bytes, too_long: bool, message_bytes_max: u64) -> Result<Vec<Bytes>, Rejected> {
    let mut messages = Vec::new();
    let mut rest = body.clone();
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let line = rest.split_to(end.map_or(rest.len(), |end| end + 1));
        if rest.is_empty() && too_long {
            return Err(BODY_TOO_BIG);
        }
        let line = line.slice(..end.unwrap_or(line.len()));
        if line.len() as u64 > message_bytes_max {
            return Err(MSG_TOO_BIG);
        }
        if !line.is_empty() {
            messages.push(line);
        }
    }
    Ok(messages)
}

/// The messages of MPUB's own format, without the length in front of it. What stands behind the last is ignored.
fn counted(body: &Bytes, settings: &Settings) -> Result<Vec<Bytes>, Rejected> {
    let mut rest = body.clone();
    let count = number(&mut rest).filter(|count| (1..=settings.mpub_messages_max()).contains(count));
    let mut messages = Vec::new();
    for _ in 0..count.ok_or(BAD_BODY)? {
        let bytes = number(&mut rest).filter(|bytes| (1..=settings.max_msg_size).contains(bytes));
        let bytes = bytes.filter(|bytes| *bytes <= rest.len() as u64).ok_or(BAD_MESSAGE)?;
        messages.push(rest.split_to(bytes as usize));
    }
    Ok(messages)
}

/// Takes a number of four bytes; none below zero, none from less than four.
fn number(rest: &mut Bytes) -> Option<u64> {
    let four = rest.get(..4)?.try_into().ok()?;
    *rest = rest.slice(4..);
    u64::try_from(i32::from_be_bytes(four)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings { max_msg_size: 10, max_body_size: 104, ..Settings::default() }
    }

    fn binary(messages: &[&[u8]]) -> Bytes {
        let mut body = (messages.len() as i32).to_be_bytes().to_vec();
        for message in messages {
            body.extend((message.len() as i32).to_be_bytes());
            body.extend(*message);
        }
        body.into()
    }

    #[test]
    fn a_delay_is_milliseconds_up_to_the_limit() {
        let hour = Duration::from_secs(3_600);
        assert_eq!(defer("0", hour), Some(Duration::ZERO));
        assert_eq!(defer("+5", hour), Some(Duration::from_millis(5)));
        assert_eq!(defer("3600000", hour), Some(hour));
        for bad in ["", "-1", "3600001", "1.5", "99999999999999999999"] {
            assert_eq!(defer(bad, hour), None, "{bad}");
        }
    }

    #[test]
    fn lines_are_messages() {
        let read = |text: &'static str| lines(&Bytes::from_static(text.as_bytes()), false, 3);
        assert_eq!(read("a\n\nbc\r\ndef").unwrap(), ["a", "bc\r", "def"]);
        assert_eq!(read("").unwrap(), Vec::<Bytes>::new());
        assert_eq!(read("a\nabcd\nb"), Err(MSG_TOO_BIG));
        assert_eq!(read("abcd"), Err(MSG_TOO_BIG));
    }

    #[test]
    fn the_first_thing_that_is_too_long_is_named() {
        let body = Bytes::from_static(b"abcdef\nx");
        assert_eq!(lines(&body, true, 3), Err(MSG_TOO_BIG));
        assert_eq!(lines(&body, true, 6), Err(BODY_TOO_BIG));
        assert_eq!(lines(&body.slice(..6), true, 3), Err(BODY_TOO_BIG));
    }

    #[test]
    fn counted_messages_are_read_to_the_last_and_no_further() {
        assert_eq!(counted(&binary(&[b"a", b"bc"]), &settings()).unwrap(), ["a", "bc"]);
        let trailing = [&binary(&[b"a"])[..], b"trailing"].concat().into();
        assert_eq!(counted(&trailing, &settings()).unwrap(), ["a"]);
    }

    #[test]
    fn a_wrong_count_is_a_bad_body_and_a_wrong_length_a_bad_message() {
        let counts = [&[][..], &[0, 0], &[0, 0, 0, 0], &[255; 4], &21_i32.to_be_bytes()];
        for body in counts {
            assert_eq!(counted(&Bytes::copy_from_slice(body), &settings()), Err(BAD_BODY), "{body:?}");
        }
        let short = binary(&[b"abc"]);
        for body in [binary(&[b""]), binary(&[&[b'x'; 11]]), short.slice(..short.len() - 1), short.slice(..6)]
        {
            assert_eq!(counted(&body, &settings()), Err(BAD_MESSAGE), "{body:?}");
        }
    }
}
