//! The NSQ protocol as a server sees it, written apart from the crate `wire`: a kit that shared its code would share its
//! mistakes.

use bytes::Bytes;
use serde_json::Value;

/// A command of a client.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are the protocol's parameters")]
pub enum Command {
    /// The body; `Null` if it is not JSON.
    Identify(Value),
    Auth(String),
    Sub {
        topic: String,
        channel: String,
    },
    Rdy(i64),
    Fin(String),
    Req {
        id: String,
        delay_ms: i64,
    },
    Touch(String),
    Cls,
    Nop,
    Pub {
        topic: String,
        body: Bytes,
    },
    Mpub {
        topic: String,
        bodies: Vec<Bytes>,
    },
    Dpub {
        topic: String,
        delay_ms: i64,
        body: Bytes,
    },
    /// A line that is no command of the protocol.
    Unknown(String),
}

impl Command {
    /// The word it begins with.
    pub fn name(&self) -> &'static str {
        match self {
            Command::Identify(_) => "IDENTIFY",
            Command::Auth(_) => "AUTH",
            Command::Sub { .. } => "SUB",
            Command::Rdy(_) => "RDY",
            Command::Fin(_) => "FIN",
            Command::Req { .. } => "REQ",
            Command::Touch(_) => "TOUCH",
            Command::Cls => "CLS",
            Command::Nop => "NOP",
            Command::Pub { .. } => "PUB",
            Command::Mpub { .. } => "MPUB",
            Command::Dpub { .. } => "DPUB",
            Command::Unknown(_) => "unknown",
        }
    }

    /// Parses the command at the front of `bytes`: it and its length, or nothing while it is incomplete.
    pub(super) fn parse(bytes: &[u8]) -> Option<(Command, usize)> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let line = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let words: Vec<&str> = line.split(' ').collect();
        let text = |at: usize| words[at].to_owned();
        let rest = &bytes[end + 1..];
        let (command, body_len) = match (words[0], words.len()) {
            ("IDENTIFY", 1) => {
                let (body, len) = sized(rest)?;
                (Command::Identify(serde_json::from_slice(body).unwrap_or_default()), len)
            }
            ("AUTH", 1) => {
                let (body, len) = sized(rest)?;
                (Command::Auth(String::from_utf8_lossy(body).into_owned()), len)
            }
            ("PUB", 2) => {
                let (body, len) = sized(rest)?;
                (Command::Pub { topic: text(1), body: Bytes::copy_from_slice(body) }, len)
            }
            ("DPUB", 3) => {
                let (body, len) = sized(rest)?;
                let delay_ms = words[2].parse().unwrap_or(-1);
                (Command::Dpub { topic: text(1), delay_ms, body: Bytes::copy_from_slice(body) }, len)
            }
            ("MPUB", 2) => {
                let (body, len) = sized(rest)?;
                match bodies(body) {
                    Some(bodies) => (Command::Mpub { topic: text(1), bodies }, len),
                    None => (Command::Unknown(format!("{line} with a body that is not its lengths")), len),
                }
            }
            ("SUB", 3) => (Command::Sub { topic: text(1), channel: text(2) }, 0),
            ("FIN", 2) => (Command::Fin(text(1)), 0),
            ("TOUCH", 2) => (Command::Touch(text(1)), 0),
            ("CLS", 1) => (Command::Cls, 0),
            ("NOP", 1) => (Command::Nop, 0),
            ("RDY", 2) => (words[1].parse().map_or(Command::Unknown(line.clone()), Command::Rdy), 0),
            ("REQ", 3) => {
                let id = text(1);
                (
                    words[2]
                        .parse()
                        .map_or(Command::Unknown(line.clone()), |delay_ms| Command::Req { id, delay_ms }),
                    0,
                )
            }
            _ => (Command::Unknown(line.clone()), 0),
        };
        Some((command, end + 1 + body_len))
    }
}

/// A body behind its length, and what both take.
fn sized(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let len = u32::from_be_bytes(*bytes.first_chunk::<4>()?) as usize;
    Some((bytes.get(4..4 + len)?, 4 + len))
}

fn bodies(mut bytes: &[u8]) -> Option<Vec<Bytes>> {
    let count = u32::from_be_bytes(*bytes.first_chunk::<4>()?);
    bytes = &bytes[4..];
    let mut bodies = Vec::new();
    for _ in 0..count {
        let (body, len) = sized(bytes)?;
        bodies.push(Bytes::copy_from_slice(body));
        bytes = &bytes[len..];
    }
    bytes.is_empty().then_some(bodies)
}

/// The `n`th message id, 16 hexadecimal digits.
pub fn id(n: u64) -> String {
    format!("{n:016x}")
}

/// Type of a response frame.
pub const RESPONSE: u32 = 0;
/// Type of an error frame.
pub const ERROR: u32 = 1;
/// Type of a message frame.
pub const MESSAGE: u32 = 2;

/// A frame of any type.
pub fn frame(kind: u32, bytes: &[u8]) -> Vec<u8> {
    let size = u32::try_from(bytes.len() + 4).expect("a frame under 4 GiB");
    [&size.to_be_bytes(), &kind.to_be_bytes(), bytes].concat()
}

/// A message frame.
///
/// # Panics
/// When the id is not 16 bytes long.
pub fn message_frame(id: &str, attempts: u16, timestamp_ns: i64, body: &[u8]) -> Vec<u8> {
    assert_eq!(id.len(), 16, "a message id has 16 bytes: {id:?}");
    let bytes = [&timestamp_ns.to_be_bytes()[..], &attempts.to_be_bytes(), id.as_bytes(), body].concat();
    frame(MESSAGE, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_at_any_cut() {
        let bytes = b"IDENTIFY\n\0\0\0\x02{}SUB t c\nRDY 5\nFIN 0000000000000001\nREQ 0000000000000002 -1\nPUB t\n\0\0\0\x01xMPUB t\n\0\0\0\x0d\0\0\0\x01\0\0\0\x05helloDPUB t 7\n\0\0\0\0CLS\nNOP\nRDY x\n";
        let mut rest = &bytes[..];
        let mut commands = Vec::new();
        while let Some((command, len)) = Command::parse(rest) {
            assert_eq!(Command::parse(&rest[..len - 1]), None, "{command:?} was read before its end");
            commands.push(command);
            rest = &rest[len..];
        }
        assert!(rest.is_empty());
        let names: Vec<_> = commands.iter().map(Command::name).collect();
        assert_eq!(
            names,
            ["IDENTIFY", "SUB", "RDY", "FIN", "REQ", "PUB", "MPUB", "DPUB", "CLS", "NOP", "unknown"]
        );
        assert_eq!(commands[4], Command::Req { id: id(2), delay_ms: -1 });
        assert_eq!(commands[6], Command::Mpub { topic: "t".into(), bodies: vec!["hello".into()] });
    }
}
