//! The commands that a connection is still to write.
//!
//! Everybody appends here, and the connection's task writes what has gathered once per poll: the FINs of many
//! deliveries leave in one write, without a timer that would hold them back. It is bounded by what it
//! answers: one FIN or REQ per delivery, a TOUCH only while the last one has left, a NOP per heartbeat.

use wire::Command;

/// Above this a buffer that has been emptied is given back: it grew while its nsqd did not read.
const KEPT_BYTES: usize = 16 * 1024;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    /// How much of `bytes` has been written.
    written: usize,
}

impl Outbox {
    /// Appends; the commands' own writers do the rest.
    pub(super) fn push(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Puts a command before all that are not on their way yet, behind the one that is.
    pub(super) fn push_first(&mut self, command: &Command<'_>) {
        let rest = self.unwritten().iter().position(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let place = self.written + if self.started() < self.written { rest } else { 0 };
        let mut first = Vec::new();
        command.write(&mut first);
        self.bytes.splice(place..place, first);
    }

    pub(super) fn unwritten(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    /// The stream took the first `bytes` of what was unwritten.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
        if self.is_empty() {
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_BYTES);
            self.written = 0;
        } else if self.written > KEPT_BYTES {
            let start = self.started();
            self.bytes.drain(..start);
            self.written -= start;
        }
    }

    /// Where the command begins that is on its way; `written` when none is.
    fn started(&self) -> usize {
        self.bytes[..self.written].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1)
    }

    /// FINs that the stream has not taken in full: their messages come again.
    pub(super) fn unwritten_finishes(&self) -> u64 {
        self.bytes[self.started()..]
            .split(|byte| *byte == b'\n')
            .filter(|line| line.starts_with(b"FIN "))
            .count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(bytes: &[u8]) -> Outbox {
        let mut outbox = Outbox::default();
        outbox.push().extend_from_slice(bytes);
        outbox
    }

    #[test]
    fn cls_goes_before_all_that_wait() {
        let mut outbox = with(b"FIN a\nFIN b\n");
        outbox.push_first(&Command::Cls);
        assert_eq!(outbox.unwritten(), b"CLS\nFIN a\nFIN b\n");
        let mut outbox = with(b"FIN a\nFIN b\n");
        outbox.wrote(6);
        outbox.push_first(&Command::Cls);
        assert_eq!(outbox.unwritten(), b"CLS\nFIN b\n");
    }

    #[test]
    fn but_not_into_the_middle_of_one() {
        let mut outbox = with(b"FIN a\nFIN b\n");
        outbox.wrote(2);
        outbox.push_first(&Command::Cls);
        assert_eq!(outbox.unwritten(), b"N a\nCLS\nFIN b\n");
        let mut outbox = with(b"FIN a\n");
        outbox.wrote(5);
        outbox.push_first(&Command::Cls);
        assert_eq!(outbox.unwritten(), b"\nCLS\n");
    }

    #[test]
    fn what_is_written_leaves() {
        let mut outbox = with(&b"FIN a\n".repeat(10_000));
        outbox.wrote(59_997);
        assert_eq!(outbox.unwritten(), b" a\n");
        assert_eq!(
            (outbox.bytes.len(), outbox.unwritten_finishes()),
            (6, 1),
            "only the command on its way is kept"
        );
        outbox.push_first(&Command::Cls);
        assert_eq!(outbox.unwritten(), b" a\nCLS\n");
        outbox.wrote(7);
        assert!(outbox.is_empty() && outbox.bytes.capacity() <= KEPT_BYTES);
    }

    #[test]
    fn a_finish_that_left_in_part_did_not_leave() {
        let mut outbox = with(b"FIN a\nREQ b 0\nFIN c\nNOP\n");
        assert_eq!(outbox.unwritten_finishes(), 2);
        outbox.wrote(5);
        assert_eq!(outbox.unwritten_finishes(), 2);
        outbox.wrote(1);
        assert_eq!(outbox.unwritten_finishes(), 1);
        outbox.wrote(18);
        assert_eq!(outbox.unwritten_finishes(), 0);
    }
}
