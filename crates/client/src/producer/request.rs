//! The requests of a producer in their order, and what becomes of each. No I/O.
//!
//! ```text
//!   calls ─► unsent ─► (first byte written) ─► sent ─► answered
//!               ▲                                │
//!               └──── behind a refused one ──────┘
//! ```
//! `sent` is what nsqd answers, oldest first; only its newest can be written in part.

use std::collections::VecDeque;
use std::io::IoSlice;

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;
use wire::{ErrorCode, ServerError};

use super::error::{NotSent, OutcomeUnknown, PublishError};

/// One request, encoded.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) serial: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) deadline: Instant,
    pub(super) answer: oneshot::Sender<Result<(), PublishError>>,
    /// Its share of `requests_max` and of `bytes_max`, given back with it.
    pub(super) _shares: Option<[OwnedSemaphorePermit; 2]>,
}

impl Request {
    /// Whoever published it may have left; then nobody is to be told.
    fn answer(self, answer: Result<(), PublishError>) {
        let _nobody_there = self.answer.send(answer);
    }
}

/// An answer that no request waits for: the order is lost, and with it the connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OutOfOrder;

/// Every request that is not answered.
#[derive(Debug, Default)]
pub(super) struct Requests {
    sent: VecDeque<Request>,
    /// Bytes still to be written of the newest in `sent`.
    remaining: usize,
    unsent: VecDeque<Request>,
    /// Not later than the earliest deadline of all; may lie before it, since an answered request does not move it.
    expiry: Option<Instant>,
}

impl Requests {
    pub(super) fn push(&mut self, request: Request) {
        self.expiry = Some(self.expiry.map_or(request.deadline, |expiry| expiry.min(request.deadline)));
        self.unsent.push_back(request);
    }

    /// Takes back a request that nobody waits for any more, if it has not left. One that has keeps its place, for its answer will come.
    pub(super) fn cancel(&mut self, serial: u64) {
        self.unsent.retain(|request| request.serial != serial);
    }

    pub(super) fn expiry(&self) -> Option<Instant> {
        self.expiry
    }

    /// Whether the connection stands between two requests, so that another command may be written.
    pub(super) fn between(&self) -> bool {
        self.remaining == 0
    }

    /// What is to be written next, into as many of `slices` as it takes. Returns how many.
    pub(super) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let rest = self.sent.back().filter(|_| self.remaining > 0);
        let rest = rest.map(|request| &request.bytes[request.bytes.len() - self.remaining..]);
        let next = rest.into_iter().chain(self.unsent.iter().map(|request| &request.bytes[..]));
        slices.iter_mut().zip(next).map(|(slice, bytes)| *slice = IoSlice::new(bytes)).count()
    }

    /// The connection took `count` bytes of what [`Requests::slices`] gave.
    pub(super) fn wrote(&mut self, mut count: usize) {
        while count > 0 {
            if self.remaining == 0 {
                let request = self.unsent.pop_front().expect("bytes are written of what there is");
                self.remaining = request.bytes.len();
                self.sent.push_back(request);
            }
            let of_this = count.min(self.remaining);
            self.remaining -= of_this;
            count -= of_this;
        }
    }

    /// nsqd answered `OK`. It cannot have, to a request that it has not seen in full.
    pub(super) fn accepted(&mut self) -> Result<(), OutOfOrder> {
        if self.sent.len() == 1 && self.remaining > 0 {
            return Err(OutOfOrder);
        }
        self.sent.pop_front().ok_or(OutOfOrder)?.answer(Ok(()));
        Ok(())
    }

    /// nsqd answered with a fatal error, and reads nothing behind it: what was sent behind it goes back in line. Returns how many those are.
    pub(super) fn refused(&mut self, error: &ServerError) -> Result<u64, OutOfOrder> {
        let refused = self.sent.pop_front().ok_or(OutOfOrder)?;
        refused.answer(Err(match error.code {
            ErrorCode::MpubFailed => PublishError::OutcomeUnknown(OutcomeUnknown::InPart(error.clone())),
            _ => PublishError::Refused(error.clone()),
        }));
        self.remaining = 0;
        let mut resent = 0;
        while let Some(request) = self.sent.pop_back() {
            if !request.answer.is_closed() {
                self.unsent.push_front(request);
                resent += 1;
            }
        }
        Ok(resent)
    }

    /// The connection ended with these unanswered.
    pub(super) fn lost(&mut self, why: &OutcomeUnknown, now: Instant) {
        self.remaining = 0;
        for request in self.sent.drain(..) {
            let why = if request.deadline <= now { &OutcomeUnknown::Deadline } else { why };
            request.answer(Err(PublishError::OutcomeUnknown(why.clone())));
        }
    }

    /// Ends what has not left, for the whole producer ends.
    pub(super) fn stop(&mut self) {
        for request in self.unsent.drain(..) {
            request.answer(Err(PublishError::NotSent(NotSent::Stopped)));
        }
    }

    /// Ends every unsent request whose deadline has passed. True when a sent one's has: its connection must be closed then.
    pub(super) fn expire(&mut self, now: Instant, why: NotSent) -> bool {
        let mut kept = VecDeque::with_capacity(self.unsent.len());
        for request in self.unsent.drain(..) {
            if request.deadline <= now {
                request.answer(Err(PublishError::NotSent(why)));
            } else {
                kept.push_back(request);
            }
        }
        self.unsent = kept;
        self.expiry = self.sent.iter().chain(&self.unsent).map(|request| request.deadline).min();
        self.sent.iter().any(|request| request.deadline <= now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    type Answer = oneshot::Receiver<Result<(), PublishError>>;

    /// Requests of 10 bytes each; the n-th has n seconds.
    fn requests(count: u64) -> (Requests, Vec<Answer>, Instant) {
        let (mut requests, mut answers, start) = (Requests::default(), Vec::new(), Instant::now());
        for serial in 0..count {
            let (answer, answered) = oneshot::channel();
            let deadline = start + Duration::from_secs(serial);
            requests.push(Request { serial, bytes: vec![serial as u8; 10], deadline, answer, _shares: None });
            answers.push(answered);
        }
        (requests, answers, start)
    }

    fn next_bytes(requests: &Requests) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 4];
        let count = requests.slices(&mut slices);
        slices[..count].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    fn outcome(answer: &mut Answer) -> String {
        match answer.try_recv() {
            Ok(Ok(())) => "ok".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "waits".to_owned(),
        }
    }

    #[test]
    fn answers_go_to_requests_in_their_order() {
        let (mut requests, mut answers, _) = requests(3);
        assert_eq!(next_bytes(&requests).len(), 30);
        requests.wrote(25);
        assert_eq!(next_bytes(&requests), [2; 5]);
        assert!(!requests.between());
        assert_eq!(requests.accepted(), Ok(()));
        assert_eq!(requests.accepted(), Ok(()));
        assert_eq!(requests.accepted(), Err(OutOfOrder), "the third is not written in full");
        requests.wrote(5);
        assert!(requests.between());
        assert_eq!(requests.accepted(), Ok(()));
        assert_eq!(requests.accepted(), Err(OutOfOrder), "nothing is asked");
        assert!(answers.iter_mut().all(|answer| outcome(answer) == "ok"));
    }

    #[test]
    fn what_was_sent_behind_a_refused_one_goes_back_in_line() {
        let (mut requests, mut answers, _) = requests(4);
        answers.remove(2);
        requests.wrote(35);
        let refusal = ServerError::parse(b"E_BAD_MESSAGE too large");
        assert_eq!(requests.refused(&refusal), Ok(2), "nobody waits for the third");
        assert_eq!(outcome(&mut answers[0]), "nsqd refused it: E_BAD_MESSAGE too large");
        assert_eq!(next_bytes(&requests), [[1; 10], [3; 10]].concat());
        assert!(requests.between());
    }

    #[test]
    fn an_mpub_that_failed_may_be_stored_in_part() {
        let (mut requests, mut answers, _) = requests(1);
        requests.wrote(10);
        requests.refused(&ServerError::parse(b"E_MPUB_FAILED disk full")).unwrap();
        assert!(outcome(&mut answers[0]).starts_with("outcome unknown"));
    }

    #[test]
    fn a_lost_connection_leaves_the_unsent_in_line() {
        let (mut requests, mut answers, start) = requests(3);
        requests.wrote(11);
        requests.lost(&OutcomeUnknown::Stopped, start);
        assert_eq!(outcome(&mut answers[0]), "outcome unknown: no answer before the deadline");
        assert_eq!(
            outcome(&mut answers[1]),
            "outcome unknown: the producer was stopped before the answer came"
        );
        assert_eq!(outcome(&mut answers[2]), "waits");
        assert_eq!(next_bytes(&requests), [2; 10]);
    }

    #[test]
    fn a_deadline_ends_the_unsent_alone_and_asks_for_the_end_of_the_sent() {
        let (mut requests, mut answers, start) = requests(4);
        assert!(!requests.expire(start, NotSent::Busy), "the first has not left");
        assert_eq!(
            outcome(&mut answers[0]),
            "not sent: no turn before the deadline, over a standing connection"
        );
        assert_eq!(requests.expiry(), Some(start + Duration::from_secs(1)));
        requests.wrote(10);
        assert!(!requests.expire(start, NotSent::Busy));
        assert!(requests.expire(start + Duration::from_secs(2), NotSent::NotConnected));
        assert_eq!(outcome(&mut answers[1]), "waits", "its connection ends first");
        assert_eq!(outcome(&mut answers[2]), "not sent: no connection before the deadline");
        assert_eq!(next_bytes(&requests), [3; 10]);
    }

    #[test]
    fn a_cancelled_request_leaves_only_when_it_was_not_sent() {
        let (mut requests, mut answers, _) = requests(3);
        requests.wrote(1);
        requests.cancel(0);
        requests.cancel(1);
        assert_eq!(next_bytes(&requests), [vec![0; 9], vec![2; 10]].concat());
        requests.wrote(19);
        drop(answers.remove(0));
        assert_eq!(requests.accepted(), Ok(()));
        assert_eq!(requests.accepted(), Ok(()));
        assert_eq!(outcome(&mut answers[1]), "ok");
    }
}
