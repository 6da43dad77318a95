use wire::frame::{self, FRAME_BYTES_MAX, HEADER_LEN, MESSAGE_HEAD_LEN};
use wire::{AuthResponse, Frame, FrameHead, FrameKind, IdentifyResponse, Response};

#[test]
fn fuzz_bytes() {
    bolero::check!().for_each(|bytes: &[u8]| check(bytes));
}

/// Reads `bytes` as a connection's frames, to the first error or the end.
pub(crate) fn check(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some((frame, used))) = Frame::parse(rest) {
        assert!((HEADER_LEN..=rest.len()).contains(&used));
        comes_back(&frame, &rest[..used]);
        for cut in 0..used.min(400) {
            assert_eq!(Frame::parse(&rest[..cut]), Ok(None), "{cut} bytes of {used}");
        }
        rest = &rest[used..];
    }
    if let Some(head) = rest.first_chunk() {
        head_is_judged(head);
    }
}

/// A frame has one form only.
fn comes_back(frame: &Frame<'_>, bytes: &[u8]) {
    let mut out = Vec::new();
    match *frame {
        Frame::Response(payload) => {
            frame::write_response(&mut out, payload);
            if let Response::Other(json) = Response::new(payload) {
                // What stands in it is another target's; here it must only not panic.
                drop((IdentifyResponse::parse(json), AuthResponse::parse(json)));
            }
        }
        Frame::Error(payload) => return super::error_code::check(payload),
        Frame::Message { head, body } => frame::write_message(&mut out, &head, body),
    }
    assert_eq!(out, bytes);
}

/// A head that is taken is within its bounds and has one form only; another is refused in one printable line.
fn head_is_judged(bytes: &[u8; HEADER_LEN]) {
    match FrameHead::decode(bytes) {
        Ok(head) => {
            assert!(head.len <= head.kind.bytes_max() && head.len <= FRAME_BYTES_MAX);
            assert!(head.kind != FrameKind::Message || head.len >= MESSAGE_HEAD_LEN);
            assert_eq!(&head.encode(), bytes);
        }
        Err(error) => assert!(!error.to_string().contains(char::is_control)),
    }
}

/// The eight bytes alone, so that every input is one.
#[test]
fn fuzz_head() {
    bolero::check!().with_type::<(u8, i32, i32)>().for_each(|&(small, size, kind)| {
        // Half of the heads near the bounds that matter, since few of all 2^64 are.
        let (size, kind) =
            if small & 1 == 0 { (size, kind) } else { (size >> (small & 31), kind.rem_euclid(4)) };
        let mut head = [0; HEADER_LEN];
        head[..4].copy_from_slice(&size.to_be_bytes());
        head[4..].copy_from_slice(&kind.to_be_bytes());
        head_is_judged(&head);
    });
}
