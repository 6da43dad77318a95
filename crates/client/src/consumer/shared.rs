//! What the tasks of one consumer share: its settings and counts, the queue of deliveries, its connections
//! and how RDY is divided over them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::bytes::BytesBound;
use super::counters::ConsumerCounters;
use super::event::Events;
use super::link::{Link, Stage};
use super::rdy::{self, Use};
use super::ready::Ready;
use super::settings::ConsumerSettings;
use super::usage::ON_ITS_WAY;

/// How often shares are looked at when nothing calls for it.
const ROUND: Duration = Duration::from_millis(250);
/// Rounds for which a connection's use is remembered, once and once more: it gives up what it does not use
/// within 1 s.
const ROUNDS_OF_USE: u32 = 2;
/// Rounds for which the largest message is remembered, once and once more: 30 s.
const ROUNDS_OF_SIZE: u32 = 120;

pub(super) struct Shared {
    pub(super) settings: ConsumerSettings,
    pub(super) counters: Arc<ConsumerCounters>,
    pub(super) events: Events,
    pub(super) ready: Ready,
    /// Read buffers that no connection needs now. One at most: they all take turns on one thread.
    pub(super) spare_buffer: Cell<Option<Vec<u8>>>,
    /// The nsqds that have a task, and whether each is still to be dialled.
    pub(super) nodes: RefCell<HashMap<Arc<str>, Rc<Cell<bool>>>>,
    /// Asks for a poll of the nsqlookupds now.
    pub(super) look_up: Notify,
    links: RefCell<Vec<Rc<Link>>>,
    /// Deliveries that exist, whether they can still be settled or not: each keeps its body.
    deliveries: Cell<u32>,
    sizes: RefCell<BytesBound>,
    paused: Cell<bool>,
    /// Counts up while there are more connections than messages to hold.
    turn: Cell<usize>,
    /// A share waits for messages to come free elsewhere.
    share_waits: Cell<bool>,
    /// Asks for another look at the shares when what is on its way must have arrived.
    look_again: Notify,
    /// When a stop's grace ends; `None` while there is no stop.
    stops_at: Cell<Option<Instant>>,
    stopping: watch::Sender<bool>,
    tasks: watch::Sender<usize>,
}

impl Shared {
    pub(super) fn new(settings: ConsumerSettings, counters: Arc<ConsumerCounters>, events: Events) -> Shared {
        let sizes = BytesBound::new(settings.in_flight_bytes_max, settings.message_bytes_max);
        Shared {
            settings,
            counters,
            events,
            ready: Ready::default(),
            spare_buffer: Cell::default(),
            nodes: RefCell::default(),
            look_up: Notify::new(),
            links: RefCell::default(),
            deliveries: Cell::new(0),
            sizes: RefCell::new(sizes),
            paused: Cell::new(false),
            turn: Cell::new(0),
            share_waits: Cell::new(false),
            look_again: Notify::new(),
            stops_at: Cell::new(None),
            stopping: watch::Sender::new(false),
            tasks: watch::Sender::new(0),
        }
    }
}

/// Tasks and their end.
impl Shared {
    /// Runs a task of the consumer, which [`Shared::tasks_ended`] waits for.
    pub(super) fn spawn(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        let running = Running::new(Rc::clone(self));
        tokio::task::spawn_local(async move {
            task.await;
            drop(running);
        });
    }

    pub(super) async fn tasks_ended(&self) {
        // The sender is in `self`, so the wait can only end well.
        let _ended = self.tasks.subscribe().wait_for(|tasks| *tasks == 0).await.is_ok();
    }

    /// When a stop's grace ends; `None` while there is no stop.
    pub(super) fn stops_at(&self) -> Option<Instant> {
        self.stops_at.get()
    }

    /// Returns once a stop has begun.
    pub(super) async fn stop_begun(&self) {
        let _stopping = self.stopping.subscribe().wait_for(|stopping| *stopping).await.is_ok();
    }

    /// Begins a stop, or brings the end of its grace forward.
    pub(super) fn begin_stop(&self, grace_end: Instant) {
        self.stops_at.set(Some(self.stops_at.get().map_or(grace_end, |earlier| earlier.min(grace_end))));
        // Those that nobody has taken yet go back by their drop. CLS still goes first: each connection's task
        // puts it before them.
        drop(self.ready.close());
        self.stopping.send_replace(true);
        self.links.borrow().iter().for_each(|link| link.wake());
    }
}

/// Counts a task for as long as it lives, also when it is dropped.
struct Running(Rc<Shared>);

impl Running {
    fn new(shared: Rc<Shared>) -> Running {
        shared.tasks.send_modify(|tasks| *tasks += 1);
        Running(shared)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.tasks.send_modify(|tasks| *tasks -= 1);
    }
}

/// Connections and their shares.
impl Shared {
    /// A connection is there, and waits for the answer to SUB. It may be the first of an nsqd that was just
    /// found: the starts of the others must leave room for its own.
    pub(super) fn entered(&self, link: Rc<Link>) {
        let start = self.slow_start();
        self.links.borrow().iter().for_each(|other| other.usage().restart(start));
        self.links.borrow_mut().push(link);
    }

    /// A connection takes messages now.
    pub(super) fn joined(&self) {
        self.counters.connections.add(1);
        self.rebalance(true);
    }

    /// A connection has ended: the others get its share at once.
    pub(super) fn left(&self, link: &Rc<Link>, had_joined: bool) {
        self.links.borrow_mut().retain(|other| !Rc::ptr_eq(other, link));
        if had_joined {
            self.counters.connections.sub(1);
            self.rebalance(true);
        }
    }

    pub(super) fn pause(&self, paused: bool) {
        if self.paused.replace(paused) != paused {
            self.rebalance(true);
        }
    }

    /// Where a fresh connection starts: as low as is safe before the size of its messages is known.
    pub(super) fn slow_start(&self) -> u32 {
        self.sizes.borrow().start(self.nodes.borrow().len())
    }

    /// Notes the size of a message; true when it is the largest lately.
    pub(super) fn saw(&self, bytes: usize) -> bool {
        self.sizes.borrow_mut().saw(bytes)
    }

    /// Whether a share waits for messages to come free elsewhere.
    pub(super) fn share_waits(&self) -> bool {
        self.share_waits.get()
    }

    /// A delivery has begun to exist.
    pub(super) fn delivery_came(&self) {
        self.deliveries.set(self.deliveries.get() + 1);
    }

    /// One is gone, and so is its body. What an orphan took is free again, once per 50 ms however many go.
    pub(super) fn delivery_went(&self, orphan: bool) {
        self.deliveries.set(self.deliveries.get() - 1);
        if orphan {
            self.look_again.notify_one();
        }
    }

    /// Deliveries that are held though they expired or their connection ended: nsqd no longer counts them, but
    /// their bodies are here until the work on them is over.
    fn orphans(&self, links: &[Rc<Link>]) -> u32 {
        let live: u32 = links.iter().map(|link| link.live()).sum();
        self.deliveries.get().saturating_sub(live)
    }

    /// How many messages the connections that flow may hold together. One each remains whatever the orphans
    /// take, so that a message that was delivered again finds the work that still runs on it.
    fn total(&self, links: &[Rc<Link>], flowing: usize) -> u32 {
        if self.paused.get() {
            return 0;
        }
        let limit = self.settings.max_in_flight.min(self.sizes.borrow().ceiling());
        limit.saturating_sub(self.orphans(links)).max(limit.min(flowing as u32))
    }

    /// Divides RDY anew, and writes it where that is worth it, or where connections came, went or paused
    /// (`anyway`).
    ///
    /// All that changed is written or nothing, so that the sum stays at the total.
    pub(super) fn rebalance(&self, anyway: bool) {
        let links = self.links.borrow();
        let flowing: Vec<&Rc<Link>> = links.iter().filter(|link| link.stage() == Stage::Flowing).collect();
        let now = Instant::now();
        let uses: Vec<Use> = flowing.iter().map(|link| link.look(now)).collect();
        let total = self.total(&links, flowing.len());
        let plan = rdy::plan(total, &uses, self.turn.get());
        self.share_waits.set(plan.waiting);
        if plan.waiting {
            self.look_again.notify_one();
        }
        if !anyway && !rdy::worth_writing(total, &uses, &plan) {
            return;
        }
        for ((link, usage), rdy) in flowing.into_iter().zip(&uses).zip(plan.rdy) {
            if rdy != usage.rdy {
                link.set_rdy(rdy);
            }
        }
    }

    /// The consumer's clock for shares, until a stop.
    pub(super) async fn run_rounds(self: Rc<Self>) {
        let mut rounds = interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round = 0_u32;
        loop {
            tokio::select! {
                _ = rounds.tick() => {
                    self.round(round);
                    round = round.wrapping_add(1);
                }
                () = self.waited() => self.rebalance(self.share_waits.get()),
                () = self.stop_begun() => return,
            }
        }
    }

    /// A share has waited for as long as messages may be on their way.
    async fn waited(&self) {
        self.look_again.notified().await;
        sleep(ON_ITS_WAY).await;
    }

    fn round(&self, round: u32) {
        let links = self.links.borrow();
        links.iter().for_each(|link| link.usage().may_ask());
        if round % ROUNDS_OF_USE == ROUNDS_OF_USE - 1 {
            links.iter().for_each(|link| link.usage().forget_peak(link.live()));
            self.turn.set(self.turn.get().wrapping_add(1));
        }
        if round % ROUNDS_OF_SIZE == ROUNDS_OF_SIZE - 1 {
            self.sizes.borrow_mut().forget();
            let start = self.slow_start();
            links.iter().for_each(|link| link.usage().forget_sizes(start));
        }
        drop(links);
        self.rebalance(self.share_waits.get());
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("settings", &self.settings).finish_non_exhaustive()
    }
}
