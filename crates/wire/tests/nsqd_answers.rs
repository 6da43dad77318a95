//! What nsqd v1.3.0 answered to odd commands, and that [`parse`] answers the same.
//!
//! Asked of a real one with `--max-msg-size=64 --max-body-size=256`, each on a connection of its own.

use wire::command::{LINE_BYTES_MAX, Parse, parse};
use wire::{Command, CommandError, ErrorCode, Limits, MessageId};

const LIMITS: Limits = Limits { body_bytes_max: 256, message_bytes_max: 64 };
const ID: MessageId = MessageId(*b"0123456789abcdef");

/// Command and error frame.
const REFUSED: &[(&[u8], &str)] = &[
    (b"HELLO\n", "E_INVALID invalid command HELLO"),
    (b"\n", "E_INVALID invalid command "),
    (b"nop\n", "E_INVALID invalid command nop"),
    (b" NOP\n", "E_INVALID invalid command "),
    (b"FIN abc\n", "E_INVALID invalid message ID"),
    (b"FIN\n", "E_INVALID FIN insufficient number of params"),
    (b"FIN  0123456789abcdef\n", "E_INVALID invalid message ID"),
    (b"FIN 0123456789abcdef\r\r\n", "E_INVALID invalid message ID"),
    (b"RDY -1\n", "E_INVALID RDY could not parse count -1"),
    (b"REQ 0123456789abcdef\n", "E_INVALID REQ insufficient number of params"),
    (b"REQ 0123456789abcdef -1\n", "E_INVALID REQ could not parse timeout -1"),
    (b"REQ abc\n", "E_INVALID REQ insufficient number of params"),
    (b"SUB a/b\n", "E_INVALID SUB insufficient number of parameters"),
    (b"DPUB a/b\n", "E_INVALID DPUB insufficient number of parameters"),
    (b"SUB a\n", "E_INVALID SUB insufficient number of parameters"),
    (b"SUB a/b c\n", "E_BAD_TOPIC SUB topic name \"a/b\" is not valid"),
    (b"SUB a c!\n", "E_BAD_CHANNEL SUB channel name \"c!\" is not valid"),
    (b"PUB a\xff\x1b\n", "E_BAD_TOPIC PUB topic name \"a\\xff\\x1b\" is not valid"),
    (b"PUB #ephemeral\n", "E_BAD_TOPIC PUB topic name \"#ephemeral\" is not valid"),
    (b"PUB a#ephemeral#ephemeral\n", "E_BAD_TOPIC PUB topic name \"a#ephemeral#ephemeral\" is not valid"),
    (b"PUB\n", "E_INVALID PUB insufficient number of parameters"),
    (b"PUB a\n\0\0\0\0", "E_BAD_MESSAGE PUB invalid message body size 0"),
    (b"PUB a\n\xff\xff\xff\xff", "E_BAD_MESSAGE PUB invalid message body size -1"),
    (b"PUB a\n\0\0\0\x41", "E_BAD_MESSAGE PUB message too big 65 > 64"),
    (b"DPUB a\n", "E_INVALID DPUB insufficient number of parameters"),
    (b"DPUB a soon\n", "E_INVALID DPUB could not parse timeout soon"),
    (b"DPUB a 5\n\0\0\0\0", "E_BAD_MESSAGE DPUB invalid message body size 0"),
    (b"DPUB a 5\n\0\0\0\x41", "E_BAD_MESSAGE DPUB message too big 65 > 64"),
    (b"SUB a\"\\ c\n", "E_BAD_TOPIC SUB topic name \"a\\\"\\\\\" is not valid"),
    (b"MPUB a/b\n", "E_BAD_TOPIC E_BAD_TOPIC MPUB topic name \"a/b\" is not valid"),
    (b"MPUB a\n\0\0\0\0", "E_BAD_BODY MPUB invalid body size 0"),
    (b"MPUB a\n\0\0\x01\x01", "E_BAD_BODY MPUB body too big 257 > 256"),
    (b"MPUB a\n\0\0\0\x04\0\0\0\0", "E_BAD_BODY MPUB invalid message count 0"),
    (b"MPUB a\n\0\0\0\x09\0\0\0\x7f\0\0\0\x01a", "E_BAD_BODY MPUB invalid message count 127"),
    (b"MPUB a\n\0\0\0\x09\0\0\0\x01\0\0\0\0a", "E_BAD_MESSAGE MPUB invalid message(0) body size 0"),
    (b"MPUB a\n\0\0\0\x09\0\0\0\x01\0\0\0\x41a", "E_BAD_MESSAGE MPUB message too big 65 > 64"),
    (b"MPUB a\n\0\0\0\x08\0\0\0\x01\0\0\0\0", "E_BAD_MESSAGE MPUB invalid message(0) body size 0"),
    (b"MPUB a\n\0\0\0\x08\0\0\0\x33\0\0\0\0", "E_BAD_BODY MPUB invalid message count 51"),
    (b"IDENTIFY\n\0\0\0\0", "E_BAD_BODY IDENTIFY invalid body size 0"),
    (b"IDENTIFY\n\0\0\x01\x01", "E_BAD_BODY IDENTIFY body too big 257 > 256"),
    (b"AUTH x\n\0\0\0\x01s", "E_INVALID AUTH invalid number of parameters"),
    (b"AUTH\n\0\0\0\0", "E_BAD_BODY AUTH invalid body size 0"),
];

/// What nsqd took.
const TAKEN: &[(&[u8], Command<'_>)] = &[
    (b"FIN 0123456789abcdef more words\n", Command::Fin(ID)),
    (b"FIN 0123456789abcdef\r\n", Command::Fin(ID)),
    (b"RDY\n", Command::Rdy(1)),
    (b"RDY \n", Command::Rdy(0)),
    (b"RDY 007\n", Command::Rdy(7)),
    (b"CLS now\n", Command::Cls),
    (b"NOP x\n", Command::Nop),
    (b"IDENTIFY now\n\0\0\0\x02{}", Command::Identify { body: b"{}" }),
    (b"REQ 0123456789abcdef 99999999999999999999\n", Command::Req { id: ID, delay_ms: u64::MAX }),
];

#[test]
fn what_nsqd_refuses_is_refused_in_its_words() {
    for (bytes, frame) in REFUSED {
        let error = parse(bytes, &LIMITS).expect_err(frame);
        let ours = format!("{} {error}", error.code());
        assert_eq!(ours, *frame);
    }
}

#[test]
fn what_nsqd_takes_is_taken() {
    for (bytes, command) in TAKEN {
        let whole = Parse::Complete { command: *command, consumed: bytes.len() };
        assert_eq!(parse(bytes, &LIMITS), Ok(whole));
    }
}

#[test]
fn the_longest_line() {
    let line = |bytes: usize| [b"NOP ".as_slice(), &vec![b'x'; bytes - 5], b"\n"].concat();
    let whole = Parse::Complete { command: Command::Nop, consumed: LINE_BYTES_MAX };
    assert_eq!(parse(&line(LINE_BYTES_MAX), &LIMITS), Ok(whole));
    assert_eq!(parse(&line(LINE_BYTES_MAX + 1), &LIMITS), Err(CommandError::LineTooLong));
    let unended = vec![b'x'; LINE_BYTES_MAX];
    let waiting = Parse::Incomplete { need: LINE_BYTES_MAX };
    assert_eq!(parse(&unended[1..], &LIMITS), Ok(waiting));
    assert_eq!(parse(&unended, &LIMITS), Err(CommandError::LineTooLong));
}

#[test]
fn what_just_fits_is_taken() {
    let (message, body) = ([b'x'; 64], [b'x'; 256]);
    for command in [Command::Pub { topic: "a", body: &message }, Command::Identify { body: &body }] {
        let mut bytes = Vec::new();
        command.write(&mut bytes);
        let whole = Parse::Complete { command, consumed: bytes.len() };
        assert_eq!(parse(&bytes, &LIMITS), Ok(whole));
    }
}

/// A bad name or length is refused before the body that belongs to it has come.
#[test]
fn what_is_missing_is_told() {
    let need = |bytes: &[u8]| match parse(bytes, &LIMITS) {
        Ok(Parse::Incomplete { need }) => need,
        other => panic!("{other:?}"),
    };
    assert_eq!(need(b""), 1);
    assert_eq!(need(b"PUB a"), 6);
    assert_eq!(need(b"PUB a\n"), 10);
    assert_eq!(need(b"PUB a\n\0\0\0"), 10);
    assert_eq!(need(b"PUB a\n\0\0\0\x05"), 15);
    assert_eq!(need(b"PUB a\n\0\0\0\x05hell"), 15);
}

/// Where nsqd goes wrong itself, we do not follow.
#[test]
fn where_we_are_stricter() {
    // nsqd's counter wraps: this was RDY 1.
    let wrapped = parse(b"RDY 18446744073709551617\n", &LIMITS);
    assert_eq!(wrapped, Err(CommandError::RdyRange { count: u64::MAX }));
    // nsqd took the message, answered OK, then took what was left for a command.
    let trailing =
        parse(b"MPUB a\n\0\0\0\x0b\0\0\0\x01\0\0\0\x01aXX", &LIMITS).expect_err("it does not add up");
    assert_eq!(trailing, CommandError::MpubLength { declared: 11, used: 9 });
    assert_eq!(trailing.code(), ErrorCode::BadBody);
    // nsqd would wait beyond the body, into the next command.
    let cut = parse(b"MPUB a\n\0\0\0\x0e\0\0\0\x02\0\0\0\x01a\0\0\0\x09b", &LIMITS)
        .expect_err("it does not add up");
    assert_eq!((&cut, cut.code()), (&CommandError::MpubCut { index: 1 }, ErrorCode::BadMessage));
}
