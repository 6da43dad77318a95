//! A consumer: the messages of one channel, from any number of nsqds.
//!
//! | module | its one idea | |
//! |---|---|---|
//! | `settings`, `counters`, `event` | what goes in, what is counted, what is told | |
//! | [`delivery`] | one delivery in the caller's hands: finish, requeue, touch, lost | |
//! | `ready` | deliveries wait in order, receivers on a stack | |
//! | `in_flight` | the table of one connection: live, expired, adopted | pure |
//! | `deadline` | until when a delivery may be answered, and when it is touched | pure |
//! | `rdy` | which share of `max_in_flight` each nsqd gets | pure |
//! | `usage` | what one connection uses of its share | pure |
//! | `bytes` | the bound on bytes held, through RDY | pure |
//! | `oversized` | how long a message that is too large is put away | pure |
//! | `outbox`, `frames` | bytes out, bytes in | pure, but for the stream |
//! | `link` | a connection as its deliveries see it | |
//! | `connection` | the task that reads and writes one connection, and its stop | |
//! | `node` | one nsqd: dialled, served, dialled again | |
//! | `discovery` | nsqds found through nsqlookupd | |
//! | `shared` | what the tasks of one consumer share; RDY divided over connections | |
//!
//! # What holds
//! - `received = finished + requeued + expired + connection_lost + in_flight`, at every instant.
//! - A message is answered at most once, on the connection that delivered it, before its deadline. Nothing is
//!   sent for it later.
//! - No task waits for a receiver: heartbeats are answered while every receiver is busy, and what is held is
//!   touched meanwhile.
//! - The sum of RDY, and of what is held though it expired or its connection ended, stays within `max_in_flight`
//!   and what fits of the largest message lately, but for one message for each connection; no RDY is above its
//!   connection's `max_rdy_count`.
//! - On a message's way there is no lock, no timer and no task of its own, and no allocation but its body's.

mod bytes;
mod connection;
mod counters;
mod deadline;
mod delivery;
mod discovery;
mod event;
mod frames;
mod in_flight;
mod link;
mod node;
mod outbox;
mod oversized;
mod rdy;
mod ready;
mod settings;
mod shared;
mod usage;

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::after::after;
use crate::dial::Dialer;
use crate::lookup::Lookup;
use crate::settings::SettingError;
use event::Events;
use ready::Recv;
use shared::Shared;

pub use counters::{ConsumerCounters, ConsumerSnapshot, Counter};
pub use delivery::{Delivery, DeliveryState, Lost, Settled};
pub use event::{DisconnectReason, Event};
pub use settings::{ConsumerSettings, Source};

/// The messages of one channel. Cheap to clone; all clones are the same consumer. `!Send`: it lives on the
/// thread that started it.
///
/// Dropping the last clone stops it at once, as [`Consumer::stop`] with no grace would, but nobody waits for
/// it.
///
/// # Example
/// Any number of tasks of the same thread may receive; here there are four.
/// ```no_run
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use client::{Consumer, ConsumerCounters, ConsumerSettings, Settled, Source};
///
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let source = Source::Nsqds(vec!["127.0.0.1:4150".into()]);
///     let settings = ConsumerSettings::new("events".parse()?, "printer".parse()?, source);
///     let counters = Arc::new(ConsumerCounters::default());
///
///     let local = tokio::task::LocalSet::new();
///     local
///         .run_until(async {
///             let consumer = Consumer::start(settings, counters, |event| eprintln!("{event}"))
///                 .expect("the settings can be used");
///             for _ in 0..4 {
///                 let consumer = consumer.clone();
///                 tokio::task::spawn_local(async move {
///                     while let Some(delivery) = consumer.recv().await {
///                         println!("{}: {} bytes", delivery.id(), delivery.body().len());
///                         if let Settled::TooLate(why) = delivery.finish() {
///                             eprintln!("it will come again: {why:?}");
///                         }
///                     }
///                 });
///             }
///             tokio::signal::ctrl_c().await.expect("signals can be heard");
///             consumer.stop(Duration::from_secs(30)).await;
///         })
///         .await;
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Consumer(Rc<Handle>);

/// What all clones share, apart from the tasks, which must not keep it alive.
#[derive(Debug)]
struct Handle(Rc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        if self.0.stops_at().is_none() {
            self.0.begin_stop(Instant::now());
        }
    }
}

impl Consumer {
    /// Starts consuming in tasks of its own; must be called where [`tokio::task::spawn_local`] can be.
    ///
    /// An nsqd or nsqlookupd that cannot be reached is no error: it is told to `events` and tried again, for
    /// ever. `events` is called on this thread, in the middle of the consumer's work: it may call the
    /// consumer, and should return soon.
    ///
    /// # Errors
    /// Every setting that cannot be used, and files for TLS that cannot be read.
    pub fn start(
        settings: ConsumerSettings,
        counters: Arc<ConsumerCounters>,
        events: impl FnMut(Event) + 'static,
    ) -> Result<Consumer, Vec<SettingError>> {
        let errors = settings.validate();
        if !errors.is_empty() {
            return Err(errors);
        }
        let dialer = Dialer::new(&settings.connection())?;
        let lookup = match &settings.source {
            Source::Nsqds(_) | Source::Memory(_) => None,
            Source::Lookupds(lookupds) => Some(Lookup::new(&settings.lookup(lookupds.clone()))?),
        };
        let shared = Rc::new(Shared::new(settings, counters, Events::new(events)));
        shared.spawn(Rc::clone(&shared).run_rounds());
        if let Some(lookup) = lookup {
            shared.spawn(discovery::run(Rc::clone(&shared), lookup, dialer.clone()));
        }
        match &shared.settings.source {
            Source::Nsqds(nsqds) => {
                nsqds.iter().for_each(|address| node::want(&shared, &dialer, address.as_str().into()));
            }
            Source::Memory(queue) => node::want(&shared, &dialer, Arc::clone(queue.name())),
            Source::Lookupds(_) => {}
        }
        Ok(Consumer(Rc::new(Handle(shared))))
    }

    /// The next delivery; `None` once the consumer is stopped. Many tasks may wait at once: the one that
    /// began last is served first. Dropping the future loses nothing.
    pub async fn recv(&self) -> Option<Delivery> {
        let mut recv = Recv::new(&self.0.0.ready);
        poll_fn(|cx| recv.poll(cx)).await
    }

    /// Asks every nsqd to send nothing more (RDY 0). What is there already is still handed out, and touched
    /// while it is held.
    pub fn pause(&self) {
        self.0.0.pause(true);
    }

    /// Ends a pause.
    pub fn resume(&self) {
        self.0.0.pause(false);
    }

    /// Stops: nothing is handed out any more, and what nobody has taken is requeued, as is what still comes.
    /// What is handed out may be settled until `grace` has passed, and is requeued then. Returns when every
    /// nsqd has confirmed that it has executed everything, by closing, or at most 2 s after the grace.
    ///
    /// May be called again, to cut the grace short.
    pub async fn stop(&self, grace: Duration) {
        self.0.0.begin_stop(after(grace));
        self.0.0.tasks_ended().await;
    }
}
