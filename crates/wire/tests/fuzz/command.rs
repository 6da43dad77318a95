use wire::command::{LINE_BYTES_MAX, Limits, Parse, parse};
use wire::{Command, Frame, ServerError, frame};

/// Small, so that inputs reach the limits.
const LIMITS: Limits = Limits { body_bytes_max: 256, message_bytes_max: 64 };

#[test]
fn fuzz_bytes() {
    bolero::check!().for_each(|bytes: &[u8]| check(bytes));
}

/// Reads `bytes` as a connection's commands, to the first error or the end.
pub(crate) fn check(bytes: &[u8]) {
    let mut rest = bytes;
    loop {
        match parse(rest, &LIMITS) {
            Ok(Parse::Complete { command, consumed }) => {
                assert!((1..=rest.len()).contains(&consumed));
                comes_back(&command);
                every_cut_waits(&rest[..consumed]);
                rest = &rest[consumed..];
            }
            Ok(Parse::Incomplete { need }) => {
                assert!(need > rest.len());
                assert!(need <= LINE_BYTES_MAX + 4 + LIMITS.body_bytes_max as usize);
                return;
            }
            Err(error) => return can_be_sent(&error),
        }
    }
}

/// A command that was read is written so that it reads the same, but for one thing: nsqd drops one CR at a
/// line's end, so an id that ends in a CR is read from `FIN ...CR CR LF` and cannot be said again.
fn comes_back(command: &Command<'_>) {
    if let Command::Fin(id) | Command::Touch(id) = command
        && !id.is_speakable()
    {
        return;
    }
    let mut written = Vec::new();
    command.write(&mut written);
    let again = parse(&written, &LIMITS).expect("what we write, we read");
    assert_eq!(again, Parse::Complete { command: *command, consumed: written.len() });
}

/// A whole command that arrives in two pieces is waited for, and not beyond its end.
fn every_cut_waits(whole: &[u8]) {
    for cut in 0..whole.len().min(400) {
        match parse(&whole[..cut], &LIMITS) {
            Ok(Parse::Incomplete { need }) => assert!((cut + 1..=whole.len()).contains(&need)),
            other => panic!("{cut} bytes of {} gave {other:?}", whole.len()),
        }
    }
}

/// An error fits a frame, tells its code, and is one printable line.
fn can_be_sent(error: &wire::CommandError) {
    assert!(error.is_fatal());
    let text = error.to_string();
    assert!(text.len() < 4096 && !text.contains(char::is_control), "{text:?}");
    let mut out = Vec::new();
    frame::write_error(&mut out, error.code(), &text);
    match Frame::parse(&out) {
        Ok(Some((Frame::Error(payload), used))) => {
            assert_eq!((ServerError::parse(payload).code, used), (error.code(), out.len()));
        }
        other => panic!("{other:?}"),
    }
}
