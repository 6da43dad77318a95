//! Every difference between the codec and hyper 1.12, with its reason. A difference that no row here covers fails the
//! tests, and so does a row that no answer of the corpus needs.

use delivery::codec::{BadAnswer, BadBody, CloseAfter, Framing};

use crate::ours::Ours;
use crate::{Body, Seen};

/// One difference.
pub(crate) struct Difference {
    pub(crate) name: &'static str,
    /// Why the codec does not do what hyper does.
    pub(crate) reason: &'static str,
    covers: fn(&Case<'_>) -> bool,
}

/// One answer and what both made of it.
pub(crate) struct Case<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) ours: Ours,
    pub(crate) theirs: Seen,
}

impl Case<'_> {
    /// The first difference that explains this case, or `None`. Not to be asked about a case without a difference.
    pub(crate) fn explained(&self) -> Option<&'static Difference> {
        DIFFERENCES.iter().find(|difference| (difference.covers)(self))
    }

    fn refused_by_us(&self, refusal: BadAnswer) -> bool {
        self.ours.refusal == Some(refusal)
    }

    fn refused_by_them(&self) -> bool {
        self.ours.head.is_some() && self.theirs == Seen::Refused
    }

    /// Both saw the same answer to its end, and hyper alone goes on with the connection.
    fn closed_by_us_alone(&self, reason: CloseAfter) -> bool {
        self.ours.head.is_some_and(|head| head.close == Some(reason))
            && self.their_body() == Some(Body::Reusable)
    }

    fn their_body(&self) -> Option<Body> {
        match self.theirs {
            Seen::Answer { body, .. } => Some(body),
            Seen::Waiting | Seen::Refused => None,
        }
    }

    fn contains(&self, needle: &[u8]) -> bool {
        self.bytes.windows(needle.len()).any(|window| window.eq_ignore_ascii_case(needle))
    }
}

pub(crate) const DIFFERENCES: &[Difference] = &[
    Difference {
        name: "status above 599",
        reason: "RFC 9110 section 15: a status outside 100 to 599 is invalid. hyper takes 600 to 999. The message is retried.",
        covers: |case| matches!(case.ours.refusal, Some(BadAnswer::StatusOutOfRange(600..=999))),
    },
    Difference {
        name: "101",
        reason: "Nobody asked for another protocol, so 101 is no answer. hyper hands it over as an upgrade.",
        covers: |case| case.refused_by_us(BadAnswer::SwitchingProtocols),
    },
    Difference {
        name: "folded field",
        reason: "RFC 9112 section 5.2: a user agent must take a folded field as one line. hyper refuses it by default, \
                 which would deliver the message again and again.",
        covers: |case| {
            case.theirs == Seen::Refused
                && case.ours.seen != Seen::Refused
                && (case.contains(b"\n ") || case.contains(b"\n\t"))
        },
    },
    Difference {
        name: "Transfer-Encoding in HTTP/1.0",
        reason: "RFC 9112 section 6.1: the framing is faulty, so the connection is closed. The status was readable all \
                 the same and decides. hyper refuses the answer.",
        covers: |case| {
            case.refused_by_them() && case.contains(b"HTTP/1.0") && case.contains(b"\nTransfer-Encoding:")
        },
    },
    Difference {
        name: "Content-Length beside chunked",
        reason: "RFC 9112 section 6.1 asks for a close after such an answer: a sign of smuggling. hyper ignores the length.",
        covers: |case| {
            case.closed_by_us_alone(CloseAfter::AnswerFraming)
                && case.ours.head.is_some_and(|head| head.framing == Framing::Chunked)
        },
    },
    Difference {
        name: "a body announced with 204 or 304",
        reason: "A peer that announces a body which must not be there may send it, and it would be taken for the next \
                 answer. hyper goes on with the connection.",
        covers: |case| {
            case.closed_by_us_alone(CloseAfter::AnswerFraming)
                && case.ours.head.is_some_and(|head| head.framing == Framing::None)
        },
    },
    Difference {
        name: "chunked twice",
        reason: "RFC 9112 section 6.1: chunked is applied once. Which of the two ends the body is a guess, so it ends with \
                 the connection. hyper looks at the last coding alone.",
        covers: |case| {
            case.ours.head.is_some_and(|head| head.framing == Framing::UntilClose)
                && case.contains(b"chunked")
        },
    },
    Difference {
        name: "empty element behind chunked",
        reason: "RFC 9110 section 5.6.1.2: empty list elements are ignored, so `chunked,` ends in chunked. \
                 hyper reads until the peer closes.",
        covers: |case| {
            case.ours.head.is_some_and(|head| head.framing == Framing::Chunked)
                && case.their_body().is_some()
                && case.contains(b"\nTransfer-Encoding:")
                && ends_in_empty_element(case.bytes)
        },
    },
    Difference {
        name: "Content-Length of 2^64 - 2 and above",
        reason: "A legal number of 64 bits. hyper uses the two largest for something else and refuses them.",
        covers: |case| {
            case.refused_by_them()
                && case.ours.head.is_some_and(|head| {
                    matches!(head.framing, Framing::Length(u64::MAX | 0xFFFF_FFFF_FFFF_FFFE))
                })
        },
    },
    Difference {
        name: "close in an interim head",
        reason: "The peer said that it will close. hyper forgets it with the interim head.",
        covers: |case| case.closed_by_us_alone(CloseAfter::AnswerClose) && case.contains(b"HTTP/1.1 1"),
    },
    Difference {
        name: "close beside bytes above 0x7F",
        reason: "A close token is a close token whatever else the field holds. hyper skips a Connection field that is not ASCII.",
        covers: |case| {
            case.closed_by_us_alone(CloseAfter::AnswerClose) && case.bytes.iter().any(|byte| !byte.is_ascii())
        },
    },
    Difference {
        name: "keep-alive beside bytes above 0x7F in HTTP/1.0",
        reason: "The same for keep-alive.",
        covers: |case| {
            case.ours.seen == with_body(case.theirs, Body::Reusable)
                && case.contains(b"HTTP/1.0")
                && case.bytes.iter().any(|byte| !byte.is_ascii())
        },
    },
    Difference {
        name: "Transfer-Encoding with bytes above 0x7F",
        reason: "The last coding decides, and an unknown one before it may have any name. hyper reads such a list until \
                 the peer closes.",
        covers: |case| {
            case.ours.head.is_some_and(|head| head.framing == Framing::Chunked)
                && case.contains(b"\nTransfer-Encoding:")
                && case.bytes.iter().any(|byte| !byte.is_ascii())
        },
    },
    Difference {
        name: "line ends behind an answer",
        reason: "RFC 9112 section 2.2 knows peers that append CR LF to a message, and it means nothing. \
                 hyper closes on any byte.",
        covers: |case| {
            case.ours.seen == with_body(case.theirs, Body::Reusable) && case.bytes.ends_with(b"\n")
                || case.ours.seen == with_body(case.theirs, Body::Reusable) && case.bytes.ends_with(b"\r")
        },
    },
    Difference {
        name: "control bytes in a chunk extension",
        reason: "They are in no grammar, and some readers take them for a line end. The connection is closed.",
        covers: |case| case.ours.bad_body == Some(BadBody::Extension),
    },
    Difference {
        name: "bare LF in trailers",
        reason: "A doubtful line end in a body is a doubtful end of it. The connection is closed.",
        covers: |case| case.ours.bad_body == Some(BadBody::Trailer),
    },
    Difference {
        name: "limits of a head",
        reason: "64 KiB and 100 fields over all heads of an answer; hyper has some 400 KiB and 100 fields per head.",
        covers: |case| {
            matches!(case.ours.refusal, Some(BadAnswer::HeadTooLong { .. } | BadAnswer::TooManyFields { .. }))
        },
    },
    Difference {
        name: "limits of extensions",
        reason: "16 KiB in both, but white space and leading zeros count here too.",
        covers: |case| case.ours.bad_body == Some(BadBody::ExtensionsTooLong),
    },
];

fn with_body(seen: Seen, body: Body) -> Seen {
    match seen {
        Seen::Answer { status, body: Body::Last } => Seen::Answer { status, body },
        other => other,
    }
}

/// Whether a `Transfer-Encoding` line ends in a comma, or is empty behind one that is not.
fn ends_in_empty_element(bytes: &[u8]) -> bool {
    bytes.split(|&byte| byte == b'\n').any(|line| {
        let line = line.trim_ascii().to_ascii_lowercase();
        line.starts_with(b"transfer-encoding:") && (line.ends_with(b",") || line.ends_with(b":"))
    })
}
