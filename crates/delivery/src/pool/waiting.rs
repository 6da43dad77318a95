//! Waiting for a place, in order.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

use super::Pool;
use crate::connection::Connection;
use crate::outcome::Cause;

/// What kind of connection a request can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Whatever becomes free or is dialled first.
    Any,
    /// A resend: only one that was dialled, because another idle one may have ended in the same way.
    Fresh,
}

/// Where in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Before all others: who had its turn already, and got a connection that had ended.
    First,
    Last,
}

/// A connection, or why there is none.
pub(crate) type Handed = Result<Box<Connection>, Cause>;

/// One request's place in the queue.
pub(super) struct Waiter {
    need: Need,
    state: RefCell<State>,
}

enum State {
    Queued(Option<Waker>),
    Handed(Handed),
    Taken,
}

impl Waiter {
    pub(super) fn need(&self) -> Need {
        self.need
    }

    /// Ends the wait. The waiter has been taken out of the queue.
    pub(super) fn hand(&self, handed: Handed) {
        if let State::Queued(Some(waker)) = self.state.replace(State::Handed(handed)) {
            waker.wake();
        }
    }
}

/// The wait of one request. Dropping it leaves the queue, or gives back what was handed over in the meantime.
pub(crate) struct Waiting {
    pool: Rc<Pool>,
    waiter: Rc<Waiter>,
}

impl Waiting {
    pub(super) fn new(pool: Rc<Pool>, need: Need, turn: Turn) -> Waiting {
        let refused = need == Need::Any && pool.closing.get();
        let state = if refused { State::Handed(Err(Cause::Shutdown)) } else { State::Queued(None) };
        let waiter = Rc::new(Waiter { need, state: RefCell::new(state) });
        if !refused {
            let mut waiters = pool.waiters.borrow_mut();
            match turn {
                Turn::First => waiters.push_front(waiter.clone()),
                Turn::Last => waiters.push_back(waiter.clone()),
            }
            drop(waiters);
            pool.count_waiters();
            pool.ledger.bell.ring();
        }
        Waiting { pool, waiter }
    }
}

impl Future for Waiting {
    type Output = Handed;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Handed> {
        let mut state = self.waiter.state.borrow_mut();
        if let State::Queued(waker) = &mut *state {
            *waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        match std::mem::replace(&mut *state, State::Taken) {
            State::Handed(handed) => Poll::Ready(handed),
            State::Queued(_) | State::Taken => unreachable!("not polled again once it was ready"),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        match self.waiter.state.replace(State::Taken) {
            State::Queued(_) => {
                self.pool.waiters.borrow_mut().retain(|waiter| !Rc::ptr_eq(waiter, &self.waiter));
                self.pool.count_waiters();
            }
            State::Handed(Ok(connection)) => self.pool.check_in(connection, Instant::now()),
            State::Handed(Err(_)) | State::Taken => {}
        }
    }
}
