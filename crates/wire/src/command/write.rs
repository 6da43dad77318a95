//! Writing commands, for a client.
//!
//! FIN, TOUCH and REQ are written once per message: each is a line made on the stack and one or two copies of
//! it.

use super::{Command, bodies};
use crate::length::write_sized;
use crate::message::MessageId;

impl Command<'_> {
    /// Appends the command as it goes over the wire. A body over 2 GiB goes as an impossible length, which
    /// nsqd refuses.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Fin(ref id) => write_fin(out, id),
            Self::Touch(ref id) => write_touch(out, id),
            Self::Nop => out.extend_from_slice(b"NOP\n"),
            Self::Req { ref id, delay_ms } => write_req(out, id, delay_ms),
            Self::Rdy(count) => write_number_line(out, b"RDY ", u64::from(count)),
            _ => self.write_rare(out),
        }
    }

    /// The commands that are not written once per message, or that copy a body anyway.
    fn write_rare(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Identify { body } => write_with_body(out, &["IDENTIFY"], body),
            Self::Auth { secret } => write_with_body(out, &["AUTH"], secret),
            Self::Sub { topic, channel } => write_line(out, &["SUB ", topic, " ", channel]),
            Self::Cls => write_line(out, &["CLS"]),
            Self::Pub { topic, body } => write_with_body(out, &["PUB ", topic], body),
            Self::Mpub { topic, bodies } => write_with_body(out, &["MPUB ", topic], bodies.as_bytes()),
            Self::Dpub { topic, delay_ms, body } => {
                let mut digits = itoa::Buffer::new();
                write_with_body(out, &["DPUB ", topic, " ", digits.format(delay_ms)], body);
            }
            Self::Fin(_) | Self::Touch(_) | Self::Nop | Self::Req { .. } | Self::Rdy(_) => self.write(out),
        }
    }
}

/// Appends a FIN: once per message, so it is one copy of a line of fixed length.
#[inline]
pub fn write_fin(out: &mut Vec<u8>, id: &MessageId) {
    let mut line = *b"FIN ________________\n";
    line[4..20].copy_from_slice(&id.0);
    out.extend_from_slice(&line);
}

/// Appends a TOUCH.
#[inline]
pub fn write_touch(out: &mut Vec<u8>, id: &MessageId) {
    let mut line = *b"TOUCH ________________\n";
    line[6..22].copy_from_slice(&id.0);
    out.extend_from_slice(&line);
}

/// Appends a REQ.
#[inline]
pub fn write_req(out: &mut Vec<u8>, id: &MessageId, delay_ms: u64) {
    let mut start = *b"REQ ________________ ";
    start[4..20].copy_from_slice(&id.0);
    write_number_line(out, &start, delay_ms);
}

/// Appends an MPUB of `bodies`, of which none may be empty. Together they must stay under nsqd's
/// `--max-body-size`; over 2 GiB they go as an impossible length, which nsqd refuses.
pub fn write_mpub<B: AsRef<[u8]>>(out: &mut Vec<u8>, topic: &str, bodies: &[B]) {
    write_line(out, &["MPUB ", topic]);
    bodies::write_list(out, bodies);
}

fn write_number_line(out: &mut Vec<u8>, start: &[u8], number: u64) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(number).as_bytes();
    out.reserve(start.len() + digits.len() + 1);
    out.extend_from_slice(start);
    out.extend_from_slice(digits);
    out.push(b'\n');
}

fn write_line(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        debug_assert!(!part.contains('\n'), "a line end in {part:?} would begin another command");
        out.extend_from_slice(part.as_bytes());
    }
    out.push(b'\n');
}

fn write_with_body(out: &mut Vec<u8>, parts: &[&str], body: &[u8]) {
    write_line(out, parts);
    write_sized(out, body);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(command: Command<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        command.write(&mut out);
        out
    }

    #[test]
    fn commands_as_the_protocol_has_them() {
        let id = MessageId(*b"18a4199d98e69000");
        let (topic, body) = ("events", b"hello".as_slice());
        for (command, bytes) in [
            (Command::Identify { body: b"{}" }, b"IDENTIFY\n\0\0\0\x02{}".as_slice()),
            (Command::Auth { secret: b"s3" }, b"AUTH\n\0\0\0\x02s3"),
            (Command::Sub { topic, channel: "c#ephemeral" }, b"SUB events c#ephemeral\n"),
            (Command::Rdy(0), b"RDY 0\n"),
            (Command::Rdy(u32::MAX), b"RDY 4294967295\n"),
            (Command::Fin(id), b"FIN 18a4199d98e69000\n"),
            (Command::Req { id, delay_ms: 0 }, b"REQ 18a4199d98e69000 0\n"),
            (Command::Req { id, delay_ms: 3_600_000 }, b"REQ 18a4199d98e69000 3600000\n"),
            (Command::Touch(id), b"TOUCH 18a4199d98e69000\n"),
            (Command::Cls, b"CLS\n"),
            (Command::Nop, b"NOP\n"),
            (Command::Pub { topic, body }, b"PUB events\n\0\0\0\x05hello"),
            (Command::Dpub { topic, delay_ms: 1500, body }, b"DPUB events 1500\n\0\0\0\x05hello"),
        ] {
            assert_eq!(written(command), bytes, "{command:?}");
        }
        let mut out = Vec::new();
        write_mpub(&mut out, topic, &["a", "bc"]);
        assert_eq!(out, b"MPUB events\n\0\0\0\x0f\0\0\0\x02\0\0\0\x01a\0\0\0\x02bc");
    }
}
