//! What a client is told whose input ends within a command: the end of its half, or of nsqd's patience.
//!
//! nsqd reads piece by piece and names the piece that was missing; between commands, or within a line, it says nothing.

use wire::command::line;
use wire::{CommandName, ErrorCode};

use super::refusal::Refusal;

/// For the rest of the input, which is not a whole command.
pub(super) fn cut_off(rest: &[u8]) -> Option<Refusal> {
    let (line, used) = line(rest).ok().flatten()?;
    let command = CommandName::from_word(line.split(|byte| *byte == b' ').next()?)?;
    let body = rest.get(used..)?;
    let missing = |code, what: &str| Some(Refusal::new(code, format!("{command} failed to read {what}")));
    match (command, body.split_at_checked(4)) {
        (CommandName::Pub | CommandName::Dpub, None) => missing(ErrorCode::BadMessage, "message body size"),
        (CommandName::Pub | CommandName::Dpub, _) => missing(ErrorCode::BadMessage, "message body"),
        (CommandName::Identify | CommandName::Auth | CommandName::Mpub, None) => {
            missing(ErrorCode::BadBody, "body size")
        }
        (CommandName::Identify | CommandName::Auth, _) => missing(ErrorCode::BadBody, "body"),
        (CommandName::Mpub, Some((_, list))) => {
            let Some((count, messages)) = list.split_first_chunk() else {
                return missing(ErrorCode::BadBody, "message count");
            };
            missing(ErrorCode::BadMessage, &missing_message(u32::from_be_bytes(*count), messages))
        }
        _ => None,
    }
}

/// Which piece of an MPUB's messages is not there.
fn missing_message(count: u32, mut messages: &[u8]) -> String {
    for index in 0..count {
        let Some((size, rest)) = messages.split_first_chunk() else {
            return format!("message({index}) body size");
        };
        match rest.get(u32::from_be_bytes(*size) as usize..) {
            Some(rest) => messages = rest,
            None => break,
        }
    }
    "message body".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_missing_piece_is_named() {
        for (rest, told) in [
            (&b"PU"[..], None),
            (b"NOP\n", None),
            (b"PUB t\n\0\0", Some("PUB failed to read message body size")),
            (b"PUB t\n\0\0\0\x02a", Some("PUB failed to read message body")),
            (b"IDENTIFY\n", Some("IDENTIFY failed to read body size")),
            (b"AUTH\n\0\0\0\x02a", Some("AUTH failed to read body")),
            (b"MPUB t\n\0\0", Some("MPUB failed to read body size")),
            (b"MPUB t\n\0\0\0\x09\0", Some("MPUB failed to read message count")),
            (b"MPUB t\n\0\0\0\x09\0\0\0\x02\0\0\0\x01a\0", Some("MPUB failed to read message(1) body size")),
            (b"MPUB t\n\0\0\0\x09\0\0\0\x01\0\0\0\x02a", Some("MPUB failed to read message body")),
        ] {
            assert_eq!(cut_off(rest).map(|refusal| refusal.detail.into_owned()).as_deref(), told);
        }
    }
}
