//! The commands that a connection is still to write.
//!
//! Everybody appends here, and the connection's task writes what has gathered once per poll: the FINs of many
//! deliveries leave in one write, without a timer that would hold them back. It is bounded by what it
//! answers: one FIN or REQ per delivery, a TOUCH only while the last one has left, a NOP per heartbeat.
//!
//! While the stream takes nothing, what stands here grows old: an answer whose delivery has ended is cut out
//! before the next write.

use tokio::time::Instant;
use wire::{Command, MessageId};

/// Above this a buffer that has been emptied is given back: it grew while its nsqd did not read.
const KEPT_BYTES: usize = 16 * 1024;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    /// How much of `bytes` has been written.
    written: usize,
    /// The FINs and REQs since it was last empty, each with the end of its delivery.
    answers: Vec<(Instant, MessageId)>,
    /// The first of those ends.
    first_end: Option<Instant>,
}

impl Outbox {
    /// Appends; the commands' own writers do the rest.
    pub(super) fn push(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Appends the answer to a delivery, which must leave before `end`.
    pub(super) fn push_answer(&mut self, id: MessageId, end: Instant) -> &mut Vec<u8> {
        self.answers.push((end, id));
        self.first_end = Some(self.first_end.map_or(end, |first| first.min(end)));
        self.push()
    }

    /// FINs and REQs since it was last empty.
    pub(super) fn answers(&self) -> usize {
        self.answers.len()
    }

    /// Cuts out the answers whose delivery has ended. Returns how many were FINs.
    pub(super) fn cut_late(&mut self, now: Instant) -> u64 {
        if self.first_end.is_none_or(|end| now < end) {
            return 0;
        }
        let (late, timely): (Vec<_>, Vec<_>) = self.answers.drain(..).partition(|(end, _)| now >= *end);
        self.first_end = timely.iter().map(|(end, _)| *end).min();
        self.answers = timely;
        let mut late: Vec<_> = late.into_iter().map(|(_, id)| id.0).collect();
        late.sort_unstable();
        let mut finishes = 0;
        self.cut(|line| {
            let answer = line.strip_prefix(b"FIN ").or_else(|| line.strip_prefix(b"REQ "));
            let id = answer.and_then(|rest| rest.first_chunk());
            let is_late = id.is_some_and(|id| late.binary_search(id).is_ok());
            finishes += u64::from(is_late && line.starts_with(b"FIN "));
            is_late
        });
        finishes
    }

    /// Cuts out the TOUCHes. Returns how many.
    pub(super) fn cut_touches(&mut self) -> u64 {
        self.cut(|line| line.starts_with(b"TOUCH "))
    }

    /// Cuts out the commands that `goes` says, but for one that is on its way. Returns how many.
    fn cut(&mut self, mut goes: impl FnMut(&[u8]) -> bool) -> u64 {
        let waiting = self.bytes.split_off(self.behind_started());
        let mut cut = 0;
        for line in waiting.split_inclusive(|byte| *byte == b'\n') {
            if goes(line) {
                cut += 1;
            } else {
                self.bytes.extend_from_slice(line);
            }
        }
        cut
    }

    /// Where the first command begins that is not on its way yet.
    fn behind_started(&self) -> usize {
        let rest = self.unwritten().iter().position(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        self.written + if self.started() < self.written { rest } else { 0 }
    }

    /// Puts a command before all that are not on their way yet, behind the one that is.
    pub(super) fn push_first(&mut self, command: &Command<'_>) {
        let place = self.behind_started();
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
            self.answers.clear();
            self.first_end = None;
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
    use wire::command;

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
    fn an_answer_whose_delivery_has_ended_does_not_leave() {
        let id = |n: u8| MessageId([b'a' + n; 16]);
        let start = Instant::now();
        let at = |ms| start + std::time::Duration::from_millis(ms);
        let mut outbox = with(b"NOP\n");
        for n in 0..4 {
            command::write_fin(outbox.push_answer(id(n), at(100 * u64::from(n))), &id(n));
        }
        command::write_req(outbox.push_answer(id(4), at(150)), &id(4), 7);
        // NOP and a part of the first FIN are on their way.
        outbox.wrote(6);
        assert_eq!(outbox.cut_late(at(200)), 2, "of b and c");
        assert_eq!(outbox.unwritten(), b"N aaaaaaaaaaaaaaaa\nFIN dddddddddddddddd\n");
        assert_eq!(outbox.cut_late(at(299)), 0);
        assert_eq!(outbox.cut_late(at(300)), 1);
        outbox.wrote(19);
        assert!(outbox.is_empty());
        command::write_fin(outbox.push_answer(id(5), at(500)), &id(5));
        assert_eq!((outbox.cut_late(at(499)), outbox.unwritten().len()), (0, 21));
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
