//! Reading commands, for a server.
//!
//! Follows nsqd byte for byte where a well-meaning client can tell: lines end in LF, a CR before it is
//! dropped, words are split at single spaces, surplus words are ignored (not for AUTH), names and lengths are
//! judged before the body is there. It is stricter in two places, both of which leave nsqd out of step or
//! overflowed: an MPUB must fill its body, and numbers saturate instead of wrapping. What depends on the
//! connection's state, or on limits other than sizes, is the server's to judge.

use super::{Bodies, Command, CommandError, CommandName, LINE_BYTES_MAX, Parameter};
use crate::length::read_len;
use crate::message::MessageId;
use crate::name;
use crate::printable::{printable, quotable};

/// The sizes that a server takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest body of IDENTIFY, AUTH and MPUB, in bytes: nsqd's `--max-body-size`.
    pub body_bytes_max: u32,
    /// Longest message, in bytes: nsqd's `--max-msg-size`.
    pub message_bytes_max: u32,
}

impl Default for Limits {
    /// nsqd's defaults: 5 MiB and 1 MiB.
    fn default() -> Self {
        Self { body_bytes_max: 5 * 1024 * 1024, message_bytes_max: 1024 * 1024 }
    }
}

/// What stands at the front of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parse<'a> {
    /// Not yet a whole command: ask again when the buffer holds `need` bytes, counted from its front. Always
    /// more than it holds, and never more than the longest line and the longest body together.
    Incomplete {
        /// Bytes.
        need: usize,
    },
    /// A whole command.
    Complete {
        /// It.
        command: Command<'a>,
        /// How many bytes it took.
        consumed: usize,
    },
}

/// Reads the command at the front of `buf`, behind the magic. Nothing is copied and nothing remembered: what
/// is incomplete is read again from its start, at most [`LINE_BYTES_MAX`] of line.
///
/// # Errors
/// As soon as nothing that follows could make a command of it. The connection ends then: nothing says where
/// the next command begins.
pub fn parse<'a>(buf: &'a [u8], limits: &Limits) -> Result<Parse<'a>, CommandError> {
    match read_command(buf, limits) {
        Ok((command, consumed)) => Ok(Parse::Complete { command, consumed }),
        Err(Stop::Need(need)) => Ok(Parse::Incomplete { need }),
        Err(Stop::Bad(error)) => Err(error),
    }
}

/// The line at the front of `buf` without its end, and how many bytes it took; `None` while its end is missing.
///
/// nsqd judges by the connection's state before it looks at a command's words or its body. Who does the same
/// asks this first and [`parse`] then.
///
/// # Errors
/// [`CommandError::LineTooLong`].
pub fn line(buf: &[u8]) -> Result<Option<(&[u8], usize)>, CommandError> {
    match read_line(buf) {
        Ok(line) => Ok(Some(line)),
        Err(Stop::Need(_)) => Ok(None),
        Err(Stop::Bad(error)) => Err(error),
    }
}

/// Why reading ends early.
enum Stop {
    Need(usize),
    Bad(CommandError),
}

impl From<CommandError> for Stop {
    fn from(error: CommandError) -> Self {
        Self::Bad(error)
    }
}

fn read_command<'a>(buf: &'a [u8], limits: &Limits) -> Result<(Command<'a>, usize), Stop> {
    let (line, line_end) = read_line(buf)?;
    let mut words = line.split(|byte| *byte == b' ');
    let first = words.next().unwrap_or_default();
    let name = CommandName::from_word(first).ok_or_else(|| CommandError::UnknownCommand(printable(first)))?;
    let mut words = Words { name, words };
    let body = |max| read_body(buf, line_end, name, max);
    let line_only = |command| Ok((command, line_end));
    match name {
        CommandName::Fin => line_only(Command::Fin(words.id()?)),
        CommandName::Touch => line_only(Command::Touch(words.id()?)),
        CommandName::Req => {
            let (id, delay) = (words.next()?, words.next()?);
            let id = message_id(id)?;
            line_only(Command::Req { id, delay_ms: decimal(delay, name, Parameter::Timeout)? })
        }
        CommandName::Rdy => line_only(Command::Rdy(words.rdy()?)),
        CommandName::Nop => line_only(Command::Nop),
        CommandName::Cls => line_only(Command::Cls),
        CommandName::Sub => line_only(words.sub()?),
        CommandName::Identify => {
            let (body, end) = body(limits.body_bytes_max)?;
            Ok((Command::Identify { body }, end))
        }
        CommandName::Auth => {
            words.none()?;
            let (secret, end) = body(limits.body_bytes_max)?;
            Ok((Command::Auth { secret }, end))
        }
        CommandName::Pub => {
            let topic = words.topic()?;
            let (body, end) = body(limits.message_bytes_max)?;
            Ok((Command::Pub { topic, body }, end))
        }
        CommandName::Dpub => {
            let (topic, delay) = (words.next()?, words.next()?);
            let topic = topic_name(topic, name)?;
            let delay_ms = decimal(delay, name, Parameter::Timeout)?;
            let (body, end) = body(limits.message_bytes_max)?;
            Ok((Command::Dpub { topic, delay_ms, body }, end))
        }
        CommandName::Mpub => {
            let topic = words.topic()?;
            let (body, end) = body(limits.body_bytes_max)?;
            Ok((Command::Mpub { topic, bodies: Bodies::decode(body, limits)? }, end))
        }
    }
}

/// The line without its end, and where what follows it begins.
fn read_line(buf: &[u8]) -> Result<(&[u8], usize), Stop> {
    let window = &buf[..buf.len().min(LINE_BYTES_MAX)];
    match window.iter().position(|byte| *byte == b'\n') {
        Some(end) => {
            let line = &window[..end];
            Ok((line.strip_suffix(b"\r").unwrap_or(line), end + 1))
        }
        None if window.len() == LINE_BYTES_MAX => Err(CommandError::LineTooLong.into()),
        None => Err(Stop::Need(buf.len() + 1)),
    }
}

/// The body whose length stands at `start`, and where what follows it begins.
fn read_body(buf: &[u8], start: usize, command: CommandName, max: u32) -> Result<(&[u8], usize), Stop> {
    let begin = start + 4;
    let size = buf.get(start..).and_then(read_len).ok_or(Stop::Need(begin))?;
    let bytes = match u32::try_from(size) {
        Err(_) | Ok(0) => return Err(CommandError::BodySize { command, size }.into()),
        Ok(bytes) if bytes > max => return Err(CommandError::BodyTooBig { command, size: bytes, max }.into()),
        Ok(bytes) => bytes,
    };
    let end = begin + bytes as usize;
    buf.get(begin..end).map(|body| (body, end)).ok_or(Stop::Need(end))
}

/// The words behind a command's name.
struct Words<'a, I: Iterator<Item = &'a [u8]>> {
    name: CommandName,
    words: I,
}

impl<'a, I: Iterator<Item = &'a [u8]>> Words<'a, I> {
    fn next(&mut self) -> Result<&'a [u8], CommandError> {
        self.words.next().ok_or(CommandError::Parameters { command: self.name })
    }

    fn none(&mut self) -> Result<(), CommandError> {
        self.words.next().map_or(Ok(()), |_| Err(CommandError::Parameters { command: self.name }))
    }

    fn id(&mut self) -> Result<MessageId, CommandError> {
        message_id(self.next()?)
    }

    fn topic(&mut self) -> Result<&'a str, CommandError> {
        let command = self.name;
        topic_name(self.next()?, command)
    }

    /// Both words must be there before either is judged; REQ and DPUB have the same rule.
    fn sub(&mut self) -> Result<Command<'a>, CommandError> {
        let (topic, word) = (self.next()?, self.next()?);
        let topic = topic_name(topic, self.name)?;
        let channel =
            name::check(word).map_err(|reason| CommandError::Channel { name: quotable(word), reason })?;
        Ok(Command::Sub { topic, channel })
    }

    /// A bare RDY means 1, as nsqd has it.
    fn rdy(&mut self) -> Result<u32, CommandError> {
        match self.words.next() {
            None => Ok(1),
            Some(word) => {
                let count = decimal(word, self.name, Parameter::Count)?;
                u32::try_from(count).map_err(|_| CommandError::RdyRange { count })
            }
        }
    }
}

fn message_id(word: &[u8]) -> Result<MessageId, CommandError> {
    word.try_into().map(MessageId).map_err(|_| CommandError::MessageId)
}

fn topic_name(word: &[u8], command: CommandName) -> Result<&str, CommandError> {
    name::check(word).map_err(|reason| CommandError::Topic { command, name: quotable(word), reason })
}

/// Digits only: no sign, and none at all is 0, as nsqd has it. What is over 64 bits stays at their highest
/// number, so that a delay beyond all bounds is clamped by the server and does not come back at once.
fn decimal(word: &[u8], command: CommandName, parameter: Parameter) -> Result<u64, CommandError> {
    word.iter().try_fold(0_u64, |number, byte| match byte {
        b'0'..=b'9' => Ok(number.saturating_mul(10).saturating_add(u64::from(byte - b'0'))),
        _ => Err(CommandError::Number { command, parameter, text: printable(word) }),
    })
}
