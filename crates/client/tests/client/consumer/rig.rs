//! What every test stands on.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use client::{Consumer, ConsumerCounters, ConsumerSettings, ConsumerSnapshot, Delivery, Event, Source};
use testkit::PATIENCE;
use testkit::nsqd::{NsqdConnection, ScriptedNsqd};
use tokio::time::{Instant, sleep, timeout};

pub(crate) const MS: Duration = Duration::from_millis(1);

/// Runs a test on a runtime of one thread, as a lane does.
pub(crate) fn local(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

/// Settings that make a test fast: the shortest heartbeat that nsqd takes, and quick reconnects.
pub(crate) fn settings<'a>(nsqds: impl IntoIterator<Item = &'a ScriptedNsqd>) -> ConsumerSettings {
    let nsqds = nsqds.into_iter().map(|nsqd| nsqd.address().to_string()).collect();
    let topic = "events".parse().expect("a name");
    let mut settings = ConsumerSettings::new(topic, "tests".parse().expect("a name"), Source::Nsqds(nsqds));
    settings.max_in_flight = 80;
    settings.connection.heartbeat_interval = Duration::from_secs(1);
    settings.reconnect_min = 20 * MS;
    settings.reconnect_max = 100 * MS;
    settings
}

/// A consumer under test.
pub(crate) struct Rig {
    pub(crate) consumer: Consumer,
    pub(crate) counters: Arc<ConsumerCounters>,
    pub(crate) events: Rc<RefCell<Vec<Event>>>,
    watch: tokio::task::JoinHandle<()>,
}

impl Rig {
    pub(crate) fn start(settings: ConsumerSettings) -> Rig {
        let counters = Arc::new(ConsumerCounters::default());
        let events: Rc<RefCell<Vec<Event>>> = Rc::default();
        let (told, counted) = (Rc::clone(&events), Arc::clone(&counters));
        let tell = move |event| {
            assert!(counted.snapshot().balances(), "at {event}: {:?}", counted.snapshot());
            told.borrow_mut().push(event);
        };
        let consumer =
            Consumer::start(settings, Arc::clone(&counters), tell).expect("settings that can be used");
        let watched = Arc::clone(&counters);
        let watch = tokio::task::spawn_local(async move {
            loop {
                assert!(watched.snapshot().balances(), "{:?}", watched.snapshot());
                sleep(MS).await;
            }
        });
        Rig { consumer, counters, events, watch }
    }

    /// Started on one nsqd, subscribed there, and ready.
    pub(crate) async fn on(nsqd: &ScriptedNsqd, settings: ConsumerSettings) -> (Rig, NsqdConnection) {
        let rig = Rig::start(settings);
        let mut connection = nsqd.until_connection(0).await;
        connection.until_rdy().await;
        (rig, connection)
    }

    pub(crate) fn counts(&self) -> ConsumerSnapshot {
        let counts = self.counters.snapshot();
        assert!(counts.balances(), "{counts:?}");
        counts
    }

    /// The next delivery, which must come.
    pub(crate) async fn recv(&self) -> Delivery {
        timeout(PATIENCE, self.consumer.recv())
            .await
            .expect("a delivery in time")
            .expect("a running consumer")
    }

    /// No delivery comes for this long.
    pub(crate) async fn nothing_for(&self, time: Duration) {
        let delivery = timeout(time, self.consumer.recv()).await;
        assert!(delivery.is_err(), "{delivery:?}");
    }

    /// Waits until the counts satisfy `enough`.
    pub(crate) async fn until(&self, enough: impl Fn(&ConsumerSnapshot) -> bool) -> ConsumerSnapshot {
        let began = Instant::now();
        while !enough(&self.counts()) {
            assert!(
                began.elapsed() < PATIENCE,
                "not reached: {:#?} {:#?}",
                self.counts(),
                self.events.borrow()
            );
            sleep(MS).await;
        }
        self.counts()
    }

    /// Waits for an event, and gives what `which` makes of it.
    pub(crate) async fn event<R>(&self, which: impl Fn(&Event) -> Option<R>) -> R {
        let began = Instant::now();
        loop {
            if let Some(found) = self.events.borrow().iter().find_map(&which) {
                return found;
            }
            assert!(began.elapsed() < PATIENCE, "no such event: {:#?}", self.events.borrow());
            sleep(MS).await;
        }
    }
}

/// The watch panics in its own task: here it is heard.
impl Drop for Rig {
    fn drop(&mut self) {
        assert!(!self.watch.is_finished() || std::thread::panicking(), "the ledger did not balance");
        self.watch.abort();
    }
}
