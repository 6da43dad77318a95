//! The part of an answer behind its head: it decides nothing but whether the connection survives.

use crate::close_reason::CloseReason;
use crate::codec::{AnswerHead, BodyReader, CloseAfter, Framing, only_line_ends};

/// Reads and drops an answer's body, within a limit.
pub(crate) struct Rest {
    body: BodyReader,
    until_close: bool,
    read: u64,
    bytes_max: u64,
    /// Why the connection is closed even when the body ends well.
    close: Option<CloseAfter>,
}

/// The end of an answer: the connection can carry another request, or is to be closed.
pub(crate) type AnswerEnd = Result<(), CloseReason>;

impl Rest {
    pub(crate) fn new(head: &AnswerHead, bytes_max: u64) -> Rest {
        Rest {
            body: BodyReader::new(head.framing),
            until_close: head.framing == Framing::UntilClose,
            read: 0,
            bytes_max,
            close: head.close,
        }
    }

    /// Takes the next bytes, in pieces of any size, empty ones too. `None` when more is to come.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Option<AnswerEnd> {
        let progress = match self.body.feed(bytes) {
            Ok(progress) => progress,
            Err(_bad) => return Some(Err(CloseReason::BadBody)),
        };
        self.read += progress.consumed as u64;
        if progress.done {
            Some(self.after_end(&bytes[progress.consumed..]))
        } else {
            (self.read > self.bytes_max).then_some(Err(CloseReason::Undrained))
        }
    }

    /// What it means that the peer ended the connection for `reason` before that.
    pub(crate) fn end_of_stream(&self, reason: CloseReason) -> CloseReason {
        if self.until_close { self.close.map_or(reason, CloseReason::from) } else { reason }
    }

    /// Whether the connection survives the end of the body with `surplus` behind it.
    pub(crate) fn after_end(&self, surplus: &[u8]) -> AnswerEnd {
        match self.close {
            Some(close) => Err(close.into()),
            None if only_line_ends(surplus) => Ok(()),
            None => Err(CloseReason::StrayBytes),
        }
    }
}
