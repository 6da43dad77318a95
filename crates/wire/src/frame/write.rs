//! Writing frames, for a server.

use super::{CONTROL_BYTES_MAX, FrameKind, MESSAGE_HEAD_LEN};
use crate::error_code::ErrorCode;
use crate::length::write_len;
use crate::message::MessageHead;

/// Appends a response. A payload over [`CONTROL_BYTES_MAX`] becomes an impossible frame, which the peer
/// refuses.
pub fn write_response(out: &mut Vec<u8>, payload: &[u8]) {
    if write_head(out, FrameKind::Response, payload.len()) {
        out.extend_from_slice(payload);
    }
}

/// Appends an error: the code, and `detail` behind a space if there is any. [`ErrorCode::Unknown`] has no
/// text of its own, so its `detail` stands alone, as [`ServerError::parse`](crate::ServerError::parse) keeps
/// it. What is over [`CONTROL_BYTES_MAX`] is cut.
pub fn write_error(out: &mut Vec<u8>, code: ErrorCode, detail: &str) {
    let code = code.as_str();
    let gap = if code.is_empty() || detail.is_empty() { "" } else { " " };
    let room = CONTROL_BYTES_MAX - code.len() - gap.len();
    let detail = &detail[..detail.floor_char_boundary(room)];
    if write_head(out, FrameKind::Error, code.len() + gap.len() + detail.len()) {
        for part in [code, gap, detail] {
            out.extend_from_slice(part.as_bytes());
        }
    }
}

/// Appends a message. A body that takes the frame over [`FRAME_BYTES_MAX`](super::FRAME_BYTES_MAX) becomes an
/// impossible frame, which the peer refuses.
pub fn write_message(out: &mut Vec<u8>, head: &MessageHead, body: &[u8]) {
    if write_head(out, FrameKind::Message, body.len().saturating_add(MESSAGE_HEAD_LEN)) {
        out.extend_from_slice(&head.encode());
        out.extend_from_slice(body);
    }
}

fn write_head(out: &mut Vec<u8>, kind: FrameKind, len: usize) -> bool {
    let possible = write_len(out, len.saturating_add(4), kind.bytes_max() + 4);
    out.extend_from_slice(&kind.number().to_be_bytes());
    if possible {
        out.reserve(len);
    }
    possible
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frame, FrameError, OK};
    use crate::message::MessageId;

    #[test]
    fn frames_as_nsqd_writes_them() {
        let id = MessageId(*b"18a4199d98e69000");
        let head = MessageHead { timestamp_ns: 7, attempts: 1, id };
        let mut out = Vec::new();
        write_response(&mut out, OK);
        write_error(&mut out, ErrorCode::BadTopic, "SUB topic name \"\" is not valid");
        write_message(&mut out, &head, b"hello");
        assert_eq!(out[..10], *b"\0\0\0\x06\0\0\0\0OK");
        assert_eq!(out[10..30], *b"\0\0\0\x2e\0\0\0\x01E_BAD_TOPIC ");
        let (frame, used) = Frame::parse(&out[60..]).expect("possible").expect("whole");
        assert_eq!(frame, Frame::Message { head, body: b"hello" });
        assert_eq!(60 + used, out.len());
    }

    #[test]
    fn what_is_too_long_is_refused_or_cut_never_out_of_step() {
        let mut out = Vec::new();
        write_response(&mut out, &vec![b'x'; CONTROL_BYTES_MAX + 1]);
        assert_eq!(Frame::parse(&out), Err(FrameError::NegativeSize { size: -1 }));
        out.clear();
        write_error(&mut out, ErrorCode::Invalid, &"ä".repeat(CONTROL_BYTES_MAX));
        let (_, used) = Frame::parse(&out).expect("possible").expect("whole");
        assert_eq!(used, out.len());
    }
}
