//! The header lines of one message's POST, so that a receiver can tell messages, attempts and duplicates apart.
//!
//! `Idempotency-Key` is a quoted string, as the IETF draft (httpapi-idempotency-key-header) has it, and names node,
//! topic, channel and id: an id alone repeats across nsqds, and every channel's copy of a message has the same one.

use client::{ChannelName, MessageId, TopicName};

/// Renders the lines. What is the same for every message of a lane is rendered once.
#[derive(Debug)]
pub(crate) struct HeadLines {
    /// `X-NSQ-Topic` and `X-NSQ-Channel`, whole lines.
    fixed: Vec<u8>,
    /// `/topic/channel/`, the middle of the idempotency key; empty where no key is sent.
    key_middle: Vec<u8>,
}

/// What the lines say of one message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MessageLines<'a> {
    pub(crate) node: &'a str,
    pub(crate) id: MessageId,
    pub(crate) attempts: u16,
    pub(crate) timestamp_ns: i64,
}

impl HeadLines {
    pub(crate) fn new(topic: &TopicName, channel: &ChannelName, idempotency_key: bool) -> HeadLines {
        let (topic, channel) = (topic.as_str(), channel.as_str());
        HeadLines {
            fixed: format!("X-NSQ-Topic: {topic}\r\nX-NSQ-Channel: {channel}\r\n").into_bytes(),
            key_middle: if idempotency_key {
                format!("/{topic}/{channel}/").into_bytes()
            } else {
                Vec::new()
            },
        }
    }

    /// Writes the lines of `message` into `out`, which is emptied first.
    pub(crate) fn render(&self, message: MessageLines<'_>, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&self.fixed);
        out.extend_from_slice(b"X-NSQ-Node: ");
        push_visible(out, message.node.as_bytes());
        out.extend_from_slice(b"\r\nX-NSQ-Message-ID: ");
        push_visible(out, &message.id.0);
        out.extend_from_slice(b"\r\nX-NSQ-Attempts: ");
        let mut digits = itoa::Buffer::new();
        out.extend_from_slice(digits.format(message.attempts).as_bytes());
        out.extend_from_slice(b"\r\nX-NSQ-Timestamp: ");
        out.extend_from_slice(digits.format(message.timestamp_ns).as_bytes());
        out.extend_from_slice(b"\r\n");
        if !self.key_middle.is_empty() {
            out.extend_from_slice(b"Idempotency-Key: \"");
            push_visible(out, message.node.as_bytes());
            out.extend_from_slice(&self.key_middle);
            push_visible(out, &message.id.0);
            out.extend_from_slice(b"\"\r\n");
        }
    }
}

/// Appends what others chose (a broadcast address, an id) with everything replaced that could end the line or the
/// quoted string: an nsqlookupd must not be able to write header lines of its own.
fn push_visible(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(text.iter().map(|&byte| VISIBLE[usize::from(byte)]));
}

/// What each byte is sent as: four times for each message some sixteen of them are looked up.
const VISIBLE: [u8; 256] = {
    let mut visible = [b'_'; 256];
    let mut byte = 0;
    while byte < 256 {
        if (byte as u8).is_ascii_graphic() && byte as u8 != b'"' && byte as u8 != b'\\' {
            visible[byte] = byte as u8;
        }
        byte += 1;
    }
    visible
};

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(node: &str, idempotency_key: bool) -> String {
        let topic = TopicName::new("events").expect("a valid name");
        let channel = ChannelName::new("posthaste").expect("a valid name");
        let mut out = b"left over".to_vec();
        let id = MessageId(*b"0123456789abcdef");
        HeadLines::new(&topic, &channel, idempotency_key).render(
            MessageLines { node, id, attempts: 3, timestamp_ns: 1_700_000_000_000_000_001 },
            &mut out,
        );
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn all_lines() {
        assert_eq!(
            rendered("nsq1:4150", true),
            "X-NSQ-Topic: events\r\nX-NSQ-Channel: posthaste\r\nX-NSQ-Node: nsq1:4150\r\n\
             X-NSQ-Message-ID: 0123456789abcdef\r\nX-NSQ-Attempts: 3\r\nX-NSQ-Timestamp: 1700000000000000001\r\n\
             Idempotency-Key: \"nsq1:4150/events/posthaste/0123456789abcdef\"\r\n"
        );
        assert!(!rendered("nsq1:4150", false).contains("Idempotency-Key"));
    }

    #[test]
    fn a_node_cannot_write_lines_of_its_own() {
        let lines = rendered("a\r\nEvil: 1\"\\:4150", true);
        assert_eq!(lines.matches("\r\n").count(), 7);
        assert!(lines.contains("X-NSQ-Node: a__Evil:_1__:4150\r\n"), "{lines}");
    }
}
