//! hyper as the oracle of the codec: the same bytes go through both, and what both see must be the same, or one of
//! the differences in `differences.rs`, each with its reason.
//!
//! Two sources of bytes: a corpus of odd answers with what each must mean (`corpus.rs`), and inputs made up by bolero
//! (`fuzz.rs`), which are replayed and randomised by a plain `cargo test`.

mod corpus;
mod differences;
mod fuzz;
mod ours;
mod theirs;

/// What a reader makes of an answer. The peer either closes behind the bytes or keeps the connection open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Not enough for a final head so far.
    Waiting,
    /// There will be no usable answer.
    Refused,
    /// A final head.
    Answer { status: u16, body: Body },
}

/// What a reader makes of the bytes behind a final head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// Its end has not come.
    Waiting,
    /// It is malformed, or was cut.
    Broken,
    /// It is complete, and the connection is closed (the peer's doing or the reader's).
    Last,
    /// It is complete, and the connection may carry another request.
    Reusable,
}
