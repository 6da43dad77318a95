use wire::{ErrorCode, Frame, ServerError, frame};

#[test]
fn fuzz_bytes() {
    bolero::check!().for_each(|bytes: &[u8]| check(bytes));
}

/// Every payload is an error of one bounded, printable line, which means the same when it is sent on.
pub(crate) fn check(payload: &[u8]) {
    let error = ServerError::parse(payload);
    assert!(error.detail.len() < 8192 && !error.detail.contains(char::is_control), "{error:?}");
    assert!(error.id.is_none() || !error.is_fatal());
    if error.code != ErrorCode::Unknown {
        assert!(payload.starts_with(error.code.as_str().as_bytes()));
    }
    let mut out = Vec::new();
    frame::write_error(&mut out, error.code, &error.detail);
    match Frame::parse(&out) {
        Ok(Some((Frame::Error(again), used))) => {
            assert_eq!((ServerError::parse(again).code, used), (error.code, out.len()));
        }
        other => panic!("{other:?}"),
    }
}
