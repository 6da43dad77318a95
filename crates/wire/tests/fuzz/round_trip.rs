//! Values written and read back, in pieces as a socket gives them.

use bolero::TypeGenerator;
use wire::command::{Bodies, Limits, Parse, parse, write_mpub};
use wire::frame::{self, Frame};
use wire::{Command, ErrorCode, MessageHead, MessageId, ServerError};

const NAME_BYTES: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";

const UNLIMITED: Limits = Limits { body_bytes_max: u32::MAX, message_bytes_max: u32::MAX };

/// A name of nsqd's made of any bytes.
fn name(raw: &[u8], ephemeral: bool) -> String {
    let stem = raw.iter().take(54).map(|byte| char::from(NAME_BYTES[usize::from(byte % 64)]));
    let stem: String = std::iter::once('t').chain(stem).take(54).collect();
    stem + if ephemeral { "#ephemeral" } else { "" }
}

fn id(raw: u64) -> MessageId {
    MessageId(format!("{raw:016x}").into_bytes().try_into().expect("16 digits"))
}

fn body(raw: &[u8]) -> &[u8] {
    if raw.is_empty() { b"x" } else { raw }
}

#[derive(Debug, Clone, TypeGenerator)]
enum Said {
    Identify(Vec<u8>),
    Auth(Vec<u8>),
    Sub(Vec<u8>, Vec<u8>, bool),
    Rdy(u32),
    Fin(u64),
    Req(u64, u64),
    Touch(u64),
    Cls,
    Nop,
    Pub(Vec<u8>, Vec<u8>),
    Mpub(Vec<u8>, Vec<Vec<u8>>),
    Dpub(Vec<u8>, u64, Vec<u8>),
}

impl Said {
    /// Appends the command and gives `check` what a server must read.
    fn write(&self, out: &mut Vec<u8>, check: &mut dyn FnMut(Command<'_>)) {
        let topic = |raw: &Vec<u8>| name(raw, raw.len().is_multiple_of(2));
        let mut put = |command: Command<'_>| {
            command.write(out);
            check(command);
        };
        match self {
            Self::Identify(raw) => put(Command::Identify { body: body(raw) }),
            Self::Auth(raw) => put(Command::Auth { secret: body(raw) }),
            Self::Sub(one, two, ephemeral) => {
                put(Command::Sub { topic: &topic(one), channel: &name(two, *ephemeral) });
            }
            Self::Rdy(count) => put(Command::Rdy(*count)),
            Self::Fin(raw) => put(Command::Fin(id(*raw))),
            Self::Req(raw, delay_ms) => put(Command::Req { id: id(*raw), delay_ms: *delay_ms }),
            Self::Touch(raw) => put(Command::Touch(id(*raw))),
            Self::Cls => put(Command::Cls),
            Self::Nop => put(Command::Nop),
            Self::Pub(raw, message) => put(Command::Pub { topic: &topic(raw), body: body(message) }),
            Self::Dpub(raw, delay_ms, message) => {
                put(Command::Dpub { topic: &topic(raw), delay_ms: *delay_ms, body: body(message) });
            }
            Self::Mpub(raw, messages) => Self::write_list(out, &topic(raw), messages, check),
        }
    }

    fn write_list(out: &mut Vec<u8>, topic: &str, messages: &[Vec<u8>], check: &mut dyn FnMut(Command<'_>)) {
        let first: &[u8] = b"first";
        let list: Vec<&[u8]> = std::iter::once(first).chain(messages.iter().map(|raw| body(raw))).collect();
        let start = out.len();
        write_mpub(out, topic, &list);
        let encoded = out[start + "MPUB ".len() + topic.len() + 1 + 4..].to_vec();
        let bodies = Bodies::decode(&encoded, &UNLIMITED).expect("what we write, we read");
        assert!(bodies.iter().eq(list.iter().copied()));
        check(Command::Mpub { topic, bodies });
    }
}

/// Reads the commands that come in `pieces` and gives them as `Debug` shows them with their bytes: a server's
/// buffer in small.
fn read_in_pieces(bytes: &[u8], pieces: &[u8], limits: &Limits) -> Vec<Vec<u8>> {
    let (mut read, mut buffer, mut sent, mut turn) = (Vec::new(), Vec::new(), 0, 0);
    loop {
        match parse(&buffer, limits).expect("well-formed") {
            Parse::Complete { command, consumed } => {
                let mut again = Vec::new();
                command.write(&mut again);
                read.push(again);
                buffer.drain(..consumed);
            }
            Parse::Incomplete { .. } if sent == bytes.len() => return read,
            Parse::Incomplete { .. } => {
                let step = pieces.get(turn).copied().unwrap_or(u8::MAX).max(1);
                let end = (sent + usize::from(step)).min(bytes.len());
                buffer.extend_from_slice(&bytes[sent..end]);
                (sent, turn) = (end, turn + 1);
            }
        }
    }
}

#[test]
fn commands_come_back_however_they_are_cut() {
    bolero::check!().with_type::<(Vec<Said>, Vec<u8>)>().for_each(|(said, pieces)| {
        let limits = Limits { body_bytes_max: 1 << 24, message_bytes_max: 1 << 20 };
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for command in said {
            command.write(&mut bytes, &mut |command| {
                let mut one = Vec::new();
                command.write(&mut one);
                let whole = parse(&one, &limits).expect("well-formed");
                assert_eq!(whole, Parse::Complete { command, consumed: one.len() });
                expected.push(one);
            });
        }
        assert_eq!(read_in_pieces(&bytes, pieces, &limits), expected);
    });
}

#[test]
fn a_message_comes_back() {
    bolero::check!().with_type::<(i64, u16, [u8; 16], Vec<u8>)>().for_each(
        |(timestamp_ns, attempts, id, body)| {
            let head = MessageHead { timestamp_ns: *timestamp_ns, attempts: *attempts, id: MessageId(*id) };
            assert_eq!(MessageHead::decode(&head.encode()), head);
            let mut out = Vec::new();
            frame::write_message(&mut out, &head, body);
            assert_eq!(Frame::parse(&out), Ok(Some((Frame::Message { head, body }, out.len()))));
            let text = head.id.to_string();
            assert!(
                !text.contains(char::is_control) && (text.as_bytes() == id || !head.id.is_speakable()),
                "{text:?}"
            );
        },
    );
}

#[test]
fn a_failure_names_its_message() {
    bolero::check!().with_type::<(u8, [u8; 16])>().for_each(|(which, raw)| {
        let (code, command) =
            [(ErrorCode::FinFailed, "FIN"), (ErrorCode::ReqFailed, "REQ"), (ErrorCode::TouchFailed, "TOUCH")]
                [usize::from(which % 3)];
        let payload =
            [code.as_str().as_bytes(), b" ", command.as_bytes(), b" ", raw, b" failed ID not in flight"];
        let error = ServerError::parse(&payload.concat());
        assert_eq!((error.code, error.id, error.is_fatal()), (code, Some(MessageId(*raw)), false));
    });
}
