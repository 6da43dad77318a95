//! What the endpoint does with a request: a list of steps, and the choice of a list for each request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::answer::Answer;
use super::request::RequestHead;
use crate::gate::Gate;

/// One act of the endpoint on one connection. Each executed step is counted under [`Step::name`].
#[derive(Clone, Debug)]
pub enum Step {
    /// Reads the request's body to its end. Answers begin with it unless they are [`Answer::before_body`].
    ReadBody,
    /// Reads until this many bytes of the body are in, or all of it.
    ReadBodyBytes(u64),
    /// Waits. Bytes that arrive meanwhile are kept, a peer that leaves ends the steps.
    Sleep(Duration),
    /// Waits for a random time between the two, uniformly.
    SleepBetween(Duration, Duration),
    /// Waits until the test opens the gate.
    Gate(Gate),
    /// One write to the socket (and one TLS record where it fits 16 KiB).
    Send(Bytes),
    /// The same bytes again and again: so many times, or until the peer breaks off.
    Repeat(Bytes, Option<u64>),
    /// One byte at a time, with a pause before each.
    Drip(Bytes, Duration),
    /// Bytes under TLS: straight to the socket, not in a record.
    Raw(Bytes),
    /// Reads and discards until the peer leaves, and sends nothing more.
    Hang,
    /// Neither reads nor writes until the peer's socket is gone or the endpoint stops.
    Freeze,
    /// Sends close_notify, and no FIN. Nothing on a plain connection.
    CloseNotify,
    /// Sends a fatal TLS alert of this description. Nothing on a plain connection.
    Alert(u8),
    /// Sends FIN without close_notify; what follows still reads.
    Fin,
    /// Orderly end: close_notify, FIN, then reads until the peer's FIN, so that no RST overtakes the answer.
    Close,
    /// Closes the socket at once, with close_notify but without reading: the kernel makes it a RST if something was unread.
    Drop,
    /// RST, whatever is unsent or unread.
    Reset,
    /// Sends so many session tickets that no server knows (TLS 1.3): well formed, useless for resumption.
    Tickets(usize),
    /// Sends KeyUpdate (TLS 1.3) and changes the sending key; with `true` the peer must answer with its own.
    KeyUpdate(bool),
    /// Goes on with what the closure makes of the whole exchange (after [`Step::ReadBody`] the body is there).
    Decide(Decide),
}

/// The closure of [`Step::Decide`].
#[derive(Clone)]
pub struct Decide(Arc<Choice>);

type Choice = dyn Fn(&RequestHead, &Bytes) -> Answer + Send + Sync;

impl Decide {
    pub(super) fn call(&self, head: &RequestHead, body: &Bytes) -> Answer {
        (self.0)(head, body)
    }
}

impl fmt::Debug for Decide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decide")
    }
}

impl Step {
    /// The name under which an executed step is counted.
    pub fn name(&self) -> &'static str {
        match self {
            Step::ReadBody => "read_body",
            Step::ReadBodyBytes(_) => "read_body_bytes",
            Step::Sleep(_) | Step::SleepBetween(..) => "sleep",
            Step::Gate(_) => "gate",
            Step::Send(_) => "send",
            Step::Repeat(..) => "repeat",
            Step::Drip(..) => "drip",
            Step::Raw(_) => "raw",
            Step::Hang => "hang",
            Step::Freeze => "freeze",
            Step::CloseNotify => "close_notify",
            Step::Alert(_) => "alert",
            Step::Fin => "fin",
            Step::Close => "close",
            Step::Drop => "drop",
            Step::Reset => "reset",
            Step::Tickets(_) => "tickets",
            Step::KeyUpdate(_) => "key_update",
            Step::Decide(_) => "decide",
        }
    }
}

/// Chooses the answer to each request. Called when a request's head is complete, in the order of arrival over all connections.
pub struct Script(Box<dyn FnMut(&RequestHead) -> Answer + Send>);

impl Script {
    /// Any choice by what is known of the request.
    pub fn new(choose: impl FnMut(&RequestHead) -> Answer + Send + 'static) -> Self {
        Self(Box::new(choose))
    }

    /// A choice that needs the body: it is read first.
    pub fn by_body(choose: impl Fn(&RequestHead, &Bytes) -> Answer + Send + Sync + 'static) -> Self {
        let decide = Decide(Arc::new(choose));
        Self::new(move |_| Answer::steps([Step::ReadBody, Step::Decide(decide.clone())]))
    }

    /// These answers in turn, from the first again after the last.
    pub fn cycle(answers: Vec<Answer>) -> Self {
        let mut turn = answers.into_iter().cycle();
        Self::new(move |_| turn.next().expect("at least one answer"))
    }

    /// These answers in turn, then the last one for ever.
    pub fn sequence(answers: Vec<Answer>) -> Self {
        let last = answers.last().expect("at least one answer").clone();
        let mut turn = answers.into_iter();
        Self::new(move |_| turn.next().unwrap_or_else(|| last.clone()))
    }

    /// `special` for every `n`th request (the nth, the 2nth...), `otherwise` for the others.
    pub fn every(n: u64, special: Answer, otherwise: Answer) -> Self {
        Self::new(
            move |head| if (head.serial + 1).is_multiple_of(n) { special.clone() } else { otherwise.clone() },
        )
    }

    /// 200 after a random time between the two, uniformly.
    pub fn ok_between(min: Duration, max: Duration) -> Self {
        Answer::ok().after_between(min, max).into()
    }

    pub(super) fn choose(&mut self, head: &RequestHead) -> Answer {
        (self.0)(head)
    }
}

impl From<Answer> for Script {
    fn from(answer: Answer) -> Self {
        Self::new(move |_| answer.clone())
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}
