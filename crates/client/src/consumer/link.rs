//! One connection as its deliveries see it: the table of what is in flight, the commands to write, the
//! counts.
//!
//! The [`Connection`](super::connection::Connection) task owns the stream and reads and writes; a `Link` is
//! what outlives it, held by every delivery that came over it. Settling is a step on the table, a count, and
//! an append to the outbox; it never waits. The first append since the task's last poll wakes the task.
//!
//! Every change of the table is counted in the same step, which is what keeps `received = finished + requeued
//! + expired + connection_lost + in_flight` true at every instant.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use wire::{Command, MessageHead, MessageId, ServerError, command};

use super::deadline::Timing;
use super::delivery::{Delivery, DeliveryState, Lost, Settled};
use super::event::Event;
use super::in_flight::{InFlight, Key, Receipt, Standing, Swept};
use super::outbox::Outbox;
use super::oversized;
use super::rdy::Use;
use super::shared::Shared;
use super::usage::Usage;
use crate::dial::Negotiated;

/// How far a connection is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// SUB is not answered yet.
    Subscribing,
    /// Messages come; RDY counts.
    Flowing,
    /// CLS is written: what still comes goes back at once.
    Closing,
    /// The write side is shut: nothing can be answered any more.
    Shut,
    /// It has ended.
    Ended,
}

pub(super) struct Link {
    shared: Rc<Shared>,
    node: Arc<str>,
    timing: Timing,
    stage: Cell<Stage>,
    /// Whether the held deliveries were requeued by a stop whose grace had passed.
    stopped: Cell<bool>,
    table: RefCell<InFlight>,
    outbox: RefCell<Outbox>,
    task: RefCell<Option<Waker>>,
    /// The task is being polled, or has been woken to be: it will write what is appended.
    awake: Cell<bool>,
    /// The stream takes no more for now: a TOUCH would not arrive, so it must not count.
    blocked: Cell<bool>,
    usage: Usage,
}

impl Link {
    pub(super) fn new(shared: Rc<Shared>, node: Arc<str>, negotiated: &Negotiated) -> Link {
        let start = shared.slow_start();
        Link {
            node,
            timing: Timing::new(negotiated),
            stage: Cell::new(Stage::Subscribing),
            stopped: Cell::new(false),
            table: RefCell::default(),
            outbox: RefCell::default(),
            task: RefCell::default(),
            awake: Cell::new(false),
            blocked: Cell::new(false),
            usage: Usage::new(negotiated.max_rdy_count, start),
            shared,
        }
    }

    pub(super) fn node(&self) -> &Arc<str> {
        &self.node
    }

    pub(super) fn shared(&self) -> &Rc<Shared> {
        &self.shared
    }

    pub(super) fn timing(&self) -> &Timing {
        &self.timing
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage.get()
    }

    pub(super) fn enter(&self, stage: Stage) {
        self.stage.set(stage);
    }

    pub(super) fn outbox(&self) -> &RefCell<Outbox> {
        &self.outbox
    }

    /// A write has ended. A TOUCH that the stream did not take counts for nothing: it is cut out, and nsqd's clock runs
    /// from where it did.
    pub(super) fn wrote(&self, blocked: bool) {
        self.blocked.set(blocked);
        let mut table = self.table.borrow_mut();
        if !blocked {
            table.touches_left();
        } else if table.take_touches_back() {
            self.shared.counters.touched.sub(self.outbox.borrow_mut().cut_touches());
        }
    }

    /// Cuts out the answers whose delivery has ended while they could not leave.
    pub(super) fn cut_late(&self, now: Instant) {
        self.shared.counters.finishes_unsent.add(self.outbox.borrow_mut().cut_late(now));
    }

    /// Messages that are held and can be settled.
    pub(super) fn live(&self) -> u32 {
        self.table.borrow().live()
    }
}

/// Waking the task.
impl Link {
    /// The task begins a poll, at whose end it writes what has gathered.
    pub(super) fn attend(&self, waker: &Waker) {
        self.awake.set(true);
        let mut task = self.task.borrow_mut();
        match &mut *task {
            Some(known) => known.clone_from(waker),
            task => *task = Some(waker.clone()),
        }
    }

    /// The poll is over: what is appended from here on wakes the task.
    pub(super) fn rest(&self) {
        self.awake.set(false);
    }

    pub(super) fn wake(&self) {
        if !self.awake.replace(true)
            && let Some(task) = &*self.task.borrow()
        {
            task.wake_by_ref();
        }
    }

    fn write(&self, append: impl FnOnce(&mut Vec<u8>)) {
        append(self.outbox.borrow_mut().push());
        self.wake();
    }

    pub(super) fn command(&self, command: &Command<'_>) {
        self.write(|out| command.write(out));
    }
}

/// What comes in.
impl Link {
    pub(super) fn receive(self: &Rc<Self>, head: MessageHead, body: Bytes, read_at: Instant) {
        let counters = &self.shared.counters;
        counters.received.add(1);
        counters.bytes_received.add(body.len() as u64);
        if self.stage() == Stage::Shut {
            counters.connection_lost.add(1);
            return;
        }
        let receipt = self.table.borrow_mut().receive(head.id, head.attempts, read_at);
        match receipt {
            Receipt::Adopted { older_was_live } => {
                counters.adopted.add(1);
                if older_was_live {
                    counters.expired.add(1);
                } else {
                    counters.in_flight.add(1);
                }
            }
            Receipt::New(key) => {
                counters.in_flight.add(1);
                self.shared.delivery_came();
                let bytes = body.len();
                let delivery = Delivery::new(Rc::clone(self), key, head, body, read_at);
                if self.shared.stops_at().is_some() {
                    // Its drop requeues it.
                    drop(delivery);
                } else {
                    self.learn(bytes);
                    self.shared.ready.push(delivery);
                }
            }
        }
    }

    /// A message over `message_bytes_max`, of which only the head was read.
    pub(super) fn receive_oversized(&self, head: MessageHead, bytes: usize) {
        let counters = &self.shared.counters;
        counters.received.add(1);
        if self.stage() == Stage::Shut {
            counters.connection_lost.add(1);
            return;
        }
        let longest = self.shared.settings.requeue_delay_max;
        let delay = if self.shared.stops_at().is_some() {
            Duration::ZERO
        } else {
            oversized::delay(head.attempts, longest)
        };
        counters.oversized.add(1);
        counters.requeued.add(1);
        self.command(&Command::Req { id: head.id, delay_ms: self.delay_ms(delay) });
        let (node, id, attempts) = (Arc::clone(&self.node), head.id, head.attempts);
        self.shared.events.tell(Event::Oversized { node, id, attempts, bytes, delay });
    }

    /// An error that leaves the connection as it is.
    pub(super) fn refused(&self, error: ServerError) {
        let counters = &self.shared.counters;
        match error.code {
            wire::ErrorCode::FinFailed => counters.fin_failed.add(1),
            wire::ErrorCode::ReqFailed => counters.req_failed.add(1),
            wire::ErrorCode::TouchFailed => {
                counters.touch_failed.add(1);
                if let Some(id) = error.id {
                    let swept = self.table.borrow_mut().touch_failed(id);
                    self.settle_swept(swept);
                }
            }
            _ => {}
        }
        self.shared.events.tell(Event::ServerError { node: Arc::clone(&self.node), error });
    }

    /// Learns from a message how large messages are and how much of its share this connection uses.
    fn learn(&self, bytes: usize) {
        let larger = self.shared.saw(bytes);
        if self.usage.received(self.live()) || larger {
            self.shared.rebalance(false);
        }
    }
}

/// What the caller does with a delivery.
impl Link {
    /// Off the queue and into the caller's hands; false when it is lost, and counted as such.
    pub(super) fn hand_out(&self, key: Key, now: Instant) -> bool {
        let standing = self.table.borrow_mut().take(key, &self.timing, now);
        self.count_expiry(standing);
        matches!(standing, Standing::Live(_))
    }

    pub(super) fn finish(&self, key: Key, now: Instant) -> Settled {
        self.settle(key, now, |link, id, out| {
            link.shared.counters.finished.add(1);
            command::write_fin(out, &id);
        })
    }

    pub(super) fn requeue(&self, key: Key, delay: Duration, now: Instant) -> Settled {
        self.settle(key, now, |link, id, out| {
            link.shared.counters.requeued.add(1);
            command::write_req(out, &id, link.delay_ms(delay));
        })
    }

    /// Called once for each delivery, at its end.
    fn settle(&self, key: Key, now: Instant, answer: impl FnOnce(&Link, MessageId, &mut Vec<u8>)) -> Settled {
        let (standing, end) = self.table.borrow_mut().settle(key, &self.timing, now);
        self.shared.delivery_went(matches!(standing, Standing::Expired | Standing::Gone));
        match standing {
            Standing::Live(id) => {
                self.shared.counters.in_flight.sub(1);
                answer(self, id, self.outbox.borrow_mut().push_answer(id, end));
                self.wake();
                self.share_came_free();
                return Settled::Sent;
            }
            Standing::ExpiresNow | Standing::Expired | Standing::Gone => self.count_expiry(standing),
        }
        Settled::TooLate(self.lost_by(standing))
    }

    /// This connection held more than its lowered RDY, and no longer does: someone may be waiting for just
    /// that.
    fn share_came_free(&self) {
        if self.shared.share_waits() && self.live() == self.usage.rdy() {
            self.shared.rebalance(true);
        }
    }

    fn count_expiry(&self, standing: Standing) {
        if standing == Standing::ExpiresNow {
            self.shared.counters.in_flight.sub(1);
            self.shared.counters.expired.add(1);
            self.expired_in_a_stop();
        }
    }

    /// It may have been the last one that a stop waits for, and there is no answer to write that would wake the task.
    fn expired_in_a_stop(&self) {
        if self.stage() == Stage::Closing {
            self.wake();
        }
    }

    fn lost_by(&self, standing: Standing) -> Lost {
        match standing {
            Standing::Gone if self.stopped.get() => Lost::Stopped,
            Standing::Gone if self.stage() == Stage::Ended => Lost::ConnectionLost,
            _ => Lost::Expired,
        }
    }

    pub(super) fn touch(&self, key: Key, now: Instant) {
        if self.blocked.get() {
            return;
        }
        let least = self.timing.sweep_interval();
        let touched = self.table.borrow_mut().touch(key, &self.timing, least, now);
        if let Some(id) = touched {
            self.shared.counters.touched.add(1);
            self.write(|out| command::write_touch(out, &id));
        }
    }

    /// Whether it can be settled; changes nothing.
    pub(super) fn is_live(&self, key: Key, now: Instant) -> bool {
        matches!(self.table.borrow().standing(key, &self.timing, now), Standing::Live(_))
    }

    /// Where it stands. One that has just expired is counted as such, so that what the caller is told and
    /// what is counted agree.
    pub(super) fn state(&self, key: Key, now: Instant) -> DeliveryState {
        let mut table = self.table.borrow_mut();
        let standing = table.standing(key, &self.timing, now);
        let swept = (standing == Standing::ExpiresNow).then(|| table.expire(key));
        drop(table);
        swept.into_iter().for_each(|swept| self.settle_swept(swept));
        match standing {
            Standing::Live(_) => DeliveryState::Live,
            lost => self.lost_by(lost).into(),
        }
    }

    pub(super) fn deadline(&self, key: Key) -> Instant {
        self.table.borrow().deadline(key, &self.timing).unwrap_or_else(Instant::now)
    }

    pub(super) fn attempts(&self, key: Key) -> Option<u16> {
        self.table.borrow().attempts(key)
    }

    pub(super) fn watch(&self, key: Key, waker: &Waker) {
        self.table.borrow_mut().watch(key, waker);
    }

    fn delay_ms(&self, delay: Duration) -> u64 {
        delay.min(self.shared.settings.requeue_delay_max).as_millis() as u64
    }
}

/// What time does.
impl Link {
    /// Touches what is due, expires what is over.
    pub(super) fn sweep(&self, now: Instant) {
        // A TOUCH in a buffer that does not empty extends nothing, and would gather there.
        self.sweep_with(now, !self.blocked.get());
    }

    fn sweep_with(&self, now: Instant, may_touch: bool) {
        let mut outbox = self.outbox.borrow_mut();
        let touch = |id: &MessageId| command::write_touch(outbox.push(), id);
        let swept = self.table.borrow_mut().sweep(&self.timing, now, may_touch, touch);
        drop(outbox);
        self.settle_swept(swept);
    }

    fn settle_swept(&self, swept: Swept) {
        let counters = &self.shared.counters;
        counters.touched.add(u64::from(swept.touched));
        counters.expired.add(u64::from(swept.expired));
        counters.in_flight.sub(u64::from(swept.expired));
        if swept.waiting_expired {
            self.shared.ready.purge(Delivery::is_live);
        }
        if swept.expired > 0 {
            // nsqd would send as many anew, while those that are held keep their bodies.
            self.shared.rebalance(false);
            self.expired_in_a_stop();
        }
        swept.watchers.into_iter().for_each(Waker::wake);
    }

    /// The stop's grace has passed: what is still held goes back, unless its own time has passed too and no sweep has
    /// seen it yet.
    pub(super) fn requeue_all(&self, now: Instant) {
        self.sweep_with(now, false);
        let counters = &self.shared.counters;
        let mut outbox = self.outbox.borrow_mut();
        let watchers = self.table.borrow_mut().clear(|id| {
            counters.in_flight.sub(1);
            counters.requeued.add(1);
            command::write_req(outbox.push(), id, 0);
        });
        drop(outbox);
        self.stopped.set(true);
        watchers.into_iter().for_each(Waker::wake);
    }

    /// The connection has ended. Returns how many messages were held, and how many FINs had not left.
    pub(super) fn end(&self) -> (u64, u64) {
        self.enter(Stage::Ended);
        let counters = &self.shared.counters;
        let mut lost = 0;
        let watchers = self.table.borrow_mut().clear(|_| {
            counters.in_flight.sub(1);
            counters.connection_lost.add(1);
            lost += 1;
        });
        let unsent = self.outbox.take().unwritten_finishes();
        counters.finishes_unsent.add(unsent);
        self.task.take();
        self.shared.ready.purge(Delivery::is_live);
        watchers.into_iter().for_each(Waker::wake);
        (lost, unsent)
    }
}

/// Shares.
impl Link {
    pub(super) fn look(&self, now: Instant) -> Use {
        self.usage.look(self.live(), now)
    }

    pub(super) fn usage(&self) -> &Usage {
        &self.usage
    }

    pub(super) fn set_rdy(&self, rdy: u32) {
        self.usage.wrote(rdy);
        self.shared.counters.rdy_written.add(1);
        self.command(&Command::Rdy(rdy));
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("node", &self.node).field("stage", &self.stage).finish_non_exhaustive()
    }
}
