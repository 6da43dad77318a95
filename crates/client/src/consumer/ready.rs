//! Deliveries that wait for a receiver, and receivers that wait for a delivery.
//!
//! Deliveries leave in the order they came. Receivers are a stack: the one that began to wait last is woken
//! first, so that under a light load the same few tasks, with what they hold warm (caches, connections), do
//! all the work.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

use super::delivery::Delivery;

#[derive(Debug, Default)]
pub(super) struct Ready {
    inner: RefCell<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    deliveries: VecDeque<Delivery>,
    /// The stack, its tickets ascending.
    receivers: Vec<Receiver>,
    next_ticket: u64,
    closed: bool,
}

#[derive(Debug)]
struct Receiver {
    ticket: u64,
    waker: Waker,
}

impl Ready {
    pub(super) fn push(&self, delivery: Delivery) {
        let mut inner = self.inner.borrow_mut();
        inner.deliveries.push_back(delivery);
        let receiver = inner.receivers.pop();
        drop(inner);
        if let Some(receiver) = receiver {
            receiver.waker.wake();
        }
    }

    /// Takes out those that are no longer live; dropping them writes nothing.
    pub(super) fn purge(&self, live: impl Fn(&Delivery) -> bool) {
        let mut inner = self.inner.borrow_mut();
        if inner.deliveries.iter().all(&live) {
            return;
        }
        let (kept, lost): (VecDeque<_>, VecDeque<_>) = inner.deliveries.drain(..).partition(live);
        inner.deliveries = kept;
        // Their drop looks at their connection: not while this is borrowed.
        drop(inner);
        drop(lost);
    }

    /// No more deliveries are given out; those that waited are returned, for their drop to requeue them.
    pub(super) fn close(&self) -> VecDeque<Delivery> {
        let mut inner = self.inner.borrow_mut();
        inner.closed = true;
        let (deliveries, receivers) =
            (std::mem::take(&mut inner.deliveries), std::mem::take(&mut inner.receivers));
        drop(inner);
        receivers.into_iter().for_each(|receiver| receiver.waker.wake());
        deliveries
    }

    fn pop(&self) -> Option<Delivery> {
        let mut now = None;
        loop {
            let mut delivery = self.inner.borrow_mut().deliveries.pop_front()?;
            if delivery.hand_out(*now.get_or_insert_with(Instant::now)) {
                return Some(delivery);
            }
        }
    }
}

/// One wait for one delivery. `None` once no more will come.
#[derive(Debug)]
pub(super) struct Recv<'a> {
    ready: &'a Ready,
    ticket: Option<u64>,
}

impl<'a> Recv<'a> {
    pub(super) fn new(ready: &'a Ready) -> Recv<'a> {
        Recv { ready, ticket: None }
    }

    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<Delivery>> {
        if let Some(delivery) = self.ready.pop() {
            self.leave();
            return Poll::Ready(Some(delivery));
        }
        let mut inner = self.ready.inner.borrow_mut();
        if inner.closed {
            self.ticket = None;
            return Poll::Ready(None);
        }
        match self.ticket.and_then(|ticket| inner.place_of(ticket)) {
            Some(place) => inner.receivers[place].waker.clone_from(cx.waker()),
            None => {
                let ticket = inner.next_ticket;
                inner.next_ticket += 1;
                inner.receivers.push(Receiver { ticket, waker: cx.waker().clone() });
                self.ticket = Some(ticket);
            }
        }
        Poll::Pending
    }

    /// Off the stack; true when it was no longer on it, that is: called.
    fn leave(&mut self) -> bool {
        let Some(ticket) = self.ticket.take() else { return false };
        let mut inner = self.ready.inner.borrow_mut();
        match inner.place_of(ticket) {
            Some(place) => {
                inner.receivers.remove(place);
                false
            }
            None => true,
        }
    }
}

impl Inner {
    fn place_of(&self, ticket: u64) -> Option<usize> {
        self.receivers.binary_search_by_key(&ticket, |receiver| receiver.ticket).ok()
    }
}

/// One that was called and gives up must pass the call on, or a delivery would lie there while others wait.
impl Drop for Recv<'_> {
    fn drop(&mut self) {
        if !self.leave() {
            return;
        }
        let mut inner = self.ready.inner.borrow_mut();
        let next = if inner.deliveries.is_empty() { None } else { inner.receivers.pop() };
        drop(inner);
        if let Some(receiver) = next {
            receiver.waker.wake();
        }
    }
}
