//! The connections of one endpoint in one lane: which request gets which, and when another is dialled.
//!
//! ```text
//! checkout ──► newest idle one, else wait in order ◄── check-in or dial, whichever is ready first
//!                                                       dials belong to the pool's task, not to a request
//! ```
//!
//! A request never races a dial against a check-in: it takes what comes first, and a dial that nobody needs any more
//! becomes idle. So there are never more connections than `concurrency`, and as few as the load needs. What is handed
//! out is a *place*, the right to send one request; in HTTP/1.1 that is a whole connection.
//!
//! No `RefCell` here is borrowed while a connection is dropped or handed over: that can lead back to the pool.

mod demand;
pub(crate) mod ledger;
mod task;
mod waiting;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::close_reason::CloseReason;
use crate::connection::Connection;
use crate::counters::EndpointCounters;
use crate::local::Local;
use crate::outcome::{Cause, Phase};
use crate::settings::EndpointSettings;
use demand::Demand;
use ledger::Ledger;
pub(crate) use task::run;
use waiting::Waiter;
pub(crate) use waiting::{Need, Turn, Waiting};

/// Rest after a dial that failed for lack of descriptors.
const DESCRIPTOR_WAIT: Duration = Duration::from_millis(100);

/// Rest after a failed dial of a connection that is only to be kept warm.
const WARM_RETRY: Duration = Duration::from_secs(1);

/// The bounds of a pool.
pub(crate) struct Limits {
    concurrency: usize,
    warm: usize,
    idle_timeout: Duration,
    age_max: Duration,
    requests_max: Option<u64>,
}

impl Limits {
    pub(crate) fn of(settings: &EndpointSettings) -> Limits {
        Limits {
            concurrency: settings.concurrency,
            warm: settings.warm,
            idle_timeout: settings.idle_timeout,
            age_max: settings.age_max,
            requests_max: settings.requests_per_connection_max,
        }
    }
}

/// See the module's description.
pub(crate) struct Pool {
    limits: Limits,
    ledger: Rc<Ledger>,
    local: Local,
    /// Oldest check-in first; taken from the back, so that the same few are used and the others age out.
    idle: RefCell<VecDeque<Box<Connection>>>,
    /// Oldest first.
    waiters: RefCell<VecDeque<Rc<Waiter>>>,
    dialling: Cell<usize>,
    /// No dial before that: descriptors are short.
    dial_not_before: Cell<Instant>,
    /// The last dial ended for lack of one.
    lacks_descriptors: Cell<bool>,
    /// No dial only for warmth before that: the last one failed.
    warm_not_before: Cell<Instant>,
    closing: Cell<bool>,
}

impl Pool {
    pub(crate) fn new(limits: Limits, local: Local, counters: Arc<EndpointCounters>) -> Rc<Pool> {
        let now = Instant::now();
        Rc::new(Pool {
            limits,
            ledger: Ledger::new(counters),
            local,
            idle: RefCell::default(),
            waiters: RefCell::default(),
            dialling: Cell::new(0),
            dial_not_before: Cell::new(now),
            lacks_descriptors: Cell::new(false),
            warm_not_before: Cell::new(now),
            closing: Cell::new(false),
        })
    }

    fn counters(&self) -> &EndpointCounters {
        &self.ledger.counters
    }

    /// The newest idle connection that is fit for use; those that are not are closed on the way.
    pub(crate) fn checkout(&self, now: Instant) -> Option<Box<Connection>> {
        loop {
            let mut connection = self.idle.borrow_mut().pop_back()?;
            self.count_idle();
            match self.before_use(&mut connection, now) {
                Ok(()) => return Some(connection),
                Err(reason) => connection.close(reason),
            }
        }
    }

    /// The last look at a connection before its request.
    ///
    /// # Errors
    /// The reason to close it instead.
    pub(crate) fn before_use(&self, connection: &mut Connection, now: Instant) -> Result<(), CloseReason> {
        self.outlived(connection, now, 0)?;
        connection.before_use(now, &mut self.local.scratch())
    }

    /// Waits for a place; the future is to be given the request's deadline by the caller.
    pub(crate) fn wait(self: &Rc<Self>, need: Need, turn: Turn) -> Waiting {
        Waiting::new(self.clone(), need, turn)
    }

    /// Takes a connection back whose answer was read to its end: to the oldest waiter, or among the idle ones.
    pub(crate) fn check_in(&self, mut connection: Box<Connection>, now: Instant) {
        if self.closing.get() {
            return connection.close(CloseReason::Shutdown);
        }
        if let Err(reason) = self.become_idle(&mut connection, now) {
            return connection.close(reason);
        }
        match self.next_waiter(|waiter| waiter.need() == Need::Any) {
            Some(waiter) => waiter.hand(Ok(connection)),
            None => {
                self.idle.borrow_mut().push_back(connection);
                self.count_idle();
                if !self.waiters.borrow().is_empty() {
                    // They need a fresh one, for which this one may have to make room.
                    self.ledger.bell.ring();
                }
            }
        }
    }

    /// Closes what is idle and fails who waits; connections in use are closed at their check-in. A resend waits on, and
    /// is dialled for: its request is under way, and to give it up now would make its message a duplicate.
    pub(crate) fn close(&self) {
        self.closing.set(true);
        let idle = std::mem::take(&mut *self.idle.borrow_mut());
        self.count_idle();
        for connection in idle {
            connection.close(CloseReason::Shutdown);
        }
        while let Some(waiter) = self.next_waiter(|waiter| waiter.need() == Need::Any) {
            waiter.hand(Err(Cause::Shutdown));
        }
        self.ledger.bell.ring();
    }

    /// Whether it is closed and no resend waits: nobody needs a dial any more.
    fn needs_no_dials(&self) -> bool {
        self.closing.get() && self.waiters.borrow().is_empty()
    }

    /// Waits until no connection is open.
    pub(crate) async fn emptied(&self) {
        self.ledger.empty().await;
    }

    /// Why a request got no place although it waited until its deadline.
    pub(crate) fn cause_of_wait(&self) -> Cause {
        let is_dialling = self.dialling.get() > 0;
        // Not whether a rest is on: the deadline may fall between its end and the next dial.
        if self.lacks_descriptors.get() && (is_dialling || self.demand().has_room()) {
            Cause::TooManyOpenFiles
        } else if is_dialling {
            Cause::Deadline(Phase::Connect)
        } else {
            Cause::Deadline(Phase::Place)
        }
    }

    fn next_waiter(&self, fits: impl Fn(&Waiter) -> bool) -> Option<Rc<Waiter>> {
        let mut waiters = self.waiters.borrow_mut();
        let at = waiters.iter().position(|waiter| fits(waiter))?;
        let waiter = waiters.remove(at);
        drop(waiters);
        self.count_waiters();
        waiter
    }

    fn become_idle(&self, connection: &mut Connection, now: Instant) -> Result<(), CloseReason> {
        connection.become_idle(now, self.limits.requests_max, &mut self.local.scratch())
    }

    /// A dial ended with a connection.
    fn take_dialled(&self, mut connection: Box<Connection>) {
        // What a peer says before it was asked must not become the answer to the first request. It counts as a dial that
        // failed, also for a peer that closes at once: dialled again without a pause, it would get nothing but dials.
        let now = Instant::now();
        if let Err(reason) = self.become_idle(&mut connection, now) {
            let cause = connection.cause_of_end(reason);
            connection.close(reason);
            return self.dial_failed(cause);
        }
        match self.next_waiter(|_| true) {
            Some(waiter) => waiter.hand(Ok(connection)),
            None => self.check_in(connection, now),
        }
    }

    /// A dial failed: whoever waits longest hears of it.
    fn dial_failed(&self, cause: Cause) {
        match self.next_waiter(|_| true) {
            Some(waiter) => waiter.hand(Err(cause)),
            None => {
                tracing::debug!(%cause, "a dial that nobody waited for failed");
                self.warm_not_before.set(Instant::now() + WARM_RETRY);
            }
        }
    }

    /// Closes idle connections that ended, or are too old, or were idle for too long.
    fn sweep(&self) {
        let now = Instant::now();
        let fired = self.ledger.bell.take_idle_fired();
        if !fired && self.sweep_due().is_none_or(|due| now < due) {
            return;
        }
        let mut closed = Vec::new();
        let mut idle = self.idle.borrow_mut();
        let scratch = &mut *self.local.scratch();
        for _ in 0..idle.len() {
            let mut connection = idle.pop_front().expect("counted by the loop");
            match connection.look(scratch).and_then(|()| self.outlived(&connection, now, closed.len())) {
                Ok(()) => idle.push_back(connection),
                Err(reason) => closed.push((connection, reason)),
            }
        }
        drop(idle);
        self.count_idle();
        for (connection, reason) in closed {
            connection.close(reason);
        }
    }

    /// The idle timeout spares what is to be kept warm; age spares none.
    fn outlived(&self, connection: &Connection, now: Instant, closed: usize) -> Result<(), CloseReason> {
        match connection.check_age(now, self.limits.idle_timeout) {
            Err(CloseReason::IdleTimeout) if self.ledger.open() - closed <= self.limits.warm => Ok(()),
            verdict => verdict,
        }
    }

    /// When the oldest idle connection will have been idle for too long. Where that is past and it was kept warm, so are
    /// those behind it.
    fn sweep_due(&self) -> Option<Instant> {
        self.idle.borrow().front().map(|oldest| oldest.idle_since() + self.limits.idle_timeout)
    }

    fn demand(&self) -> Demand {
        let waiters = self.waiters.borrow();
        let rests = self.closing.get() || Instant::now() < self.warm_not_before.get();
        Demand {
            waiting: waiters.len(),
            waiting_for_fresh: waiters.iter().filter(|waiter| waiter.need() == Need::Fresh).count(),
            open: self.ledger.open(),
            dialling: self.dialling.get(),
            concurrency: self.limits.concurrency,
            dials_max: self.local.dials_max(),
            warm: if rests { 0 } else { self.limits.warm },
        }
    }

    /// Closes the oldest idle connection where a resend needs its place.
    fn make_room(&self) {
        while self.demand().needs_room() {
            let Some(oldest) = self.idle.borrow_mut().pop_front() else { return };
            self.count_idle();
            oldest.close(CloseReason::MadeRoom);
        }
    }

    fn set_dialling(&self, dialling: usize) {
        self.dialling.set(dialling);
        self.counters().dialling.set(dialling as u64);
    }

    fn count_waiters(&self) {
        self.counters().waiting.set(self.waiters.borrow().len() as u64);
    }

    fn count_idle(&self) {
        self.counters().idle.set(self.idle.borrow().len() as u64);
    }
}
