//! What the codec sees, read the way a connection reads it.

use delivery::codec::{
    AnswerHead, BadAnswer, BadBody, BodyReader, HeadLimits, HeadRead, HeadReader, only_line_ends,
};

use crate::{Body, Seen};

/// What the codec sees, with the reasons that [`Seen`] leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ours {
    pub(crate) seen: Seen,
    pub(crate) refusal: Option<BadAnswer>,
    pub(crate) head: Option<AnswerHead>,
    pub(crate) bad_body: Option<BadBody>,
}

impl Ours {
    fn without_answer(seen: Seen, refusal: Option<BadAnswer>) -> Ours {
        Ours { seen, refusal, head: None, bad_body: None }
    }
}

/// Reads `bytes` in pieces of `piece` bytes; behind them the peer closes or not.
pub(crate) fn sees(bytes: &[u8], piece: usize, closes: bool) -> Ours {
    let mut reader = HeadReader::new(HeadLimits::default());
    let (mut dropped, mut received) = (0, 0);
    loop {
        received = (received + piece).min(bytes.len());
        match reader.read(&bytes[dropped..received]) {
            Err(refusal) => return Ours::without_answer(Seen::Refused, Some(refusal)),
            Ok(HeadRead::Complete { head, consumed }) => {
                return body(
                    head,
                    &bytes[dropped + consumed..],
                    received - dropped - consumed,
                    piece,
                    closes,
                );
            }
            Ok(HeadRead::Incomplete { consumed }) => dropped += consumed,
        }
        if received == bytes.len() {
            let seen = if closes { Seen::Refused } else { Seen::Waiting };
            return Ours::without_answer(seen, reader.end_of_stream(&bytes[dropped..]).filter(|_| closes));
        }
    }
}

/// `first` bytes came with the head, the rest in pieces.
fn body(head: AnswerHead, bytes: &[u8], first: usize, piece: usize, closes: bool) -> Ours {
    let mut reader = BodyReader::new(head.framing);
    let (now, later) = bytes.split_at(first);
    let mut surplus = Vec::new();
    let mut bad_body = None;
    for bytes in std::iter::once(now).chain(later.chunks(piece)) {
        match reader.feed(bytes) {
            Ok(progress) => surplus.extend_from_slice(&bytes[progress.consumed..]),
            Err(bad) => {
                bad_body = Some(bad);
                break;
            }
        }
    }
    if bad_body.is_none() && closes {
        bad_body = reader.end_of_stream().err();
    }
    let body = if bad_body.is_some() {
        Body::Broken
    } else if reader.is_done() && head.close.is_none() && only_line_ends(&surplus) && !closes {
        Body::Reusable
    } else if reader.is_done() || closes {
        Body::Last
    } else {
        Body::Waiting
    };
    Ours { seen: Seen::Answer { status: head.status, body }, refusal: None, head: Some(head), bad_body }
}
