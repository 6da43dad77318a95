//! What was received and where it went, counted so that it adds up.
//!
//! `received = finished + requeued + expired + connection_lost + in flight` holds at every moment on every lane, because
//! each delivery from the queue leaves the in-flight table through exactly one of the four doors. `delivered` counts
//! outcomes, not deliveries: a 2xx whose message could no longer be finished is also `delivered_unfinished`, a duplicate
//! to expect.
//!
//! One thread writes a lane's counters and any thread may read them: they are atomics that are loaded and stored, never
//! read-modified-written, so that counting costs what a plain integer costs.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use client::{ConsumerCounters, ConsumerSnapshot};
use delivery::{EndpointCounters, EndpointSnapshot};
use tokio::time::Instant;

use crate::histogram::{Histogram, Quantiles};

/// A counter that one thread writes.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed) + n, Relaxed);
    }

    fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed) - n, Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The counters of one lane, its consumer's and its endpoint's beside its own.
#[derive(Debug)]
pub(crate) struct LaneCounters {
    pub(crate) consumer: Arc<ConsumerCounters>,
    pub(crate) endpoint: Arc<EndpointCounters>,
    pub(crate) delivered: Counter,
    pub(crate) failed: Counter,
    pub(crate) delivered_unfinished: Counter,
    pub(crate) latency: Histogram,
    permits: u64,
    permits_busy: Counter,
    busy_time: BusyTime,
}

/// The time that permits were busy, summed, between the first message and the latest change.
///
/// The mean is over that stretch and not over the process's life, so that waiting for the first message and for the
/// signal to stop does not dilute it.
#[derive(Debug)]
struct BusyTime {
    origin: OnceLock<Instant>,
    /// Microseconds since `origin` of the latest change in the number of busy permits.
    changed_us: Counter,
    /// Permits busy times microseconds, up to the latest change. In nanoseconds a million permits would overflow this
    /// within hours.
    area_us: Counter,
}

impl LaneCounters {
    pub(crate) fn new(permits: usize) -> LaneCounters {
        LaneCounters {
            consumer: Arc::default(),
            endpoint: Arc::default(),
            delivered: Counter::default(),
            failed: Counter::default(),
            delivered_unfinished: Counter::default(),
            latency: Histogram::new(),
            permits: permits as u64,
            permits_busy: Counter::default(),
            busy_time: BusyTime {
                origin: OnceLock::new(),
                changed_us: Counter::default(),
                area_us: Counter::default(),
            },
        }
    }

    /// A permit is busy until the returned guard is dropped, also by a panic or a cancelled task.
    pub(crate) fn busy(&self, now: Instant) -> Busy<'_> {
        self.advance(now);
        self.permits_busy.add(1);
        Busy { counters: self, ended_at: None }
    }

    /// `now` may have been read a little before the latest change: that change then counts as the later one.
    fn advance(&self, now: Instant) {
        let time = &self.busy_time;
        let since = now.saturating_duration_since(*time.origin.get_or_init(|| now)).as_micros() as u64;
        let stretch = since.saturating_sub(time.changed_us.get());
        time.area_us.add(stretch * self.permits_busy.get());
        time.changed_us.add(stretch);
    }

    /// How busy the permits were, up to now where some still are.
    fn busyness(&self) -> Busyness {
        let time = &self.busy_time;
        let Some(origin) = time.origin.get() else { return Busyness::default() };
        let (changed, busy) = (time.changed_us.get(), self.permits_busy.get());
        let until = if busy == 0 { changed } else { changed.max(origin.elapsed().as_micros() as u64) };
        Busyness { area_us: time.area_us.get() + (until - changed) * busy, stretch_us: until }
    }
}

/// How busy permits were over some stretch of time.
#[derive(Debug, Clone, Copy, Default)]
struct Busyness {
    /// Permits busy times microseconds.
    area_us: u64,
    stretch_us: u64,
}

impl Busyness {
    /// Lanes run side by side, but one may have had messages for an hour and another for a second: what they did adds
    /// up, and the longest stretch is that of all.
    fn add(&mut self, other: Busyness) {
        self.area_us += other.area_us;
        self.stretch_us = self.stretch_us.max(other.stretch_us);
    }

    fn mean(self) -> f64 {
        if self.stretch_us == 0 { 0.0 } else { self.area_us as f64 / self.stretch_us as f64 }
    }
}

/// A busy permit.
pub(crate) struct Busy<'a> {
    counters: &'a LaneCounters,
    ended_at: Option<Instant>,
}

impl Busy<'_> {
    /// Ends it by a clock that was just read.
    pub(crate) fn end(mut self, now: Instant) {
        self.ended_at = Some(now);
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.counters.advance(self.ended_at.unwrap_or_else(Instant::now));
        self.counters.permits_busy.sub(1);
    }
}

/// Where every message went that was received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Deliveries from the queue; a message that was delivered again counts again.
    pub received: u64,
    /// Outcomes with a 2xx.
    pub delivered: u64,
    /// Outcomes without.
    pub failed: u64,
    /// Messages finished: their FIN was written.
    pub finished: u64,
    /// Messages given back: their REQ was written.
    pub requeued: u64,
    /// Deliveries whose deadline passed while they were held: nothing was sent for them after it.
    pub expired: u64,
    /// Deliveries whose NSQ connection ended while they were held.
    pub connection_lost: u64,
    /// A 2xx whose FIN could no longer be sent: duplicates to expect. Counted among `expired` and `connection_lost` too.
    pub delivered_unfinished: u64,
    /// Held now.
    pub in_flight: u64,
}

/// Everything counted, by route.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// One entry a route, in the order of the settings.
    pub routes: Vec<RouteSnapshot>,
}

impl Snapshot {
    /// All routes in one.
    pub fn total(&self) -> RouteSnapshot {
        let mut total = RouteSnapshot::default();
        self.routes.iter().for_each(|route| total.add(route));
        total.name = "total".to_owned();
        total
    }
}

/// Everything counted on one route, over its lanes.
#[derive(Debug, Clone, Default)]
pub struct RouteSnapshot {
    /// The route's name.
    pub name: String,
    /// Where the messages went.
    pub ledger: Ledger,
    /// What the consumers counted.
    pub consumer: ConsumerSnapshot,
    /// What the endpoints counted at their sockets.
    pub endpoint: EndpointSnapshot,
    /// Requests that may run at once.
    pub permits: u64,
    /// Requests that run now.
    pub permits_busy: u64,
    /// Requests that ran at once on average, between the first message and the latest outcome.
    pub permits_busy_mean: f64,
    busyness: Busyness,
    latency: Vec<u64>,
}

impl RouteSnapshot {
    pub(crate) fn of(name: String, lanes: &[Arc<LaneCounters>]) -> RouteSnapshot {
        let mut route = RouteSnapshot { name, ..RouteSnapshot::default() };
        lanes.iter().for_each(|lane| route.add(&RouteSnapshot::of_lane(lane)));
        route
    }

    fn of_lane(lane: &LaneCounters) -> RouteSnapshot {
        let consumer = lane.consumer.snapshot();
        let busyness = lane.busyness();
        RouteSnapshot {
            name: String::new(),
            ledger: Ledger {
                received: consumer.received,
                delivered: lane.delivered.get(),
                failed: lane.failed.get(),
                finished: consumer.finished,
                requeued: consumer.requeued,
                expired: consumer.expired,
                connection_lost: consumer.connection_lost,
                delivered_unfinished: lane.delivered_unfinished.get(),
                in_flight: consumer.in_flight,
            },
            endpoint: lane.endpoint.snapshot(),
            permits: lane.permits,
            permits_busy: lane.permits_busy.get(),
            permits_busy_mean: busyness.mean(),
            busyness,
            latency: lane.latency.counts(),
            consumer,
        }
    }

    /// From the start of a POST to its outcome.
    pub fn latency(&self) -> Quantiles {
        Quantiles::of(&self.latency)
    }

    fn add(&mut self, other: &RouteSnapshot) {
        // Destructured whole, so that a new field cannot be forgotten here.
        let Ledger {
            received,
            delivered,
            failed,
            finished,
            requeued,
            expired,
            connection_lost,
            delivered_unfinished,
            in_flight,
        } = other.ledger;
        let ledger = &mut self.ledger;
        ledger.received += received;
        ledger.delivered += delivered;
        ledger.failed += failed;
        ledger.finished += finished;
        ledger.requeued += requeued;
        ledger.expired += expired;
        ledger.connection_lost += connection_lost;
        ledger.delivered_unfinished += delivered_unfinished;
        ledger.in_flight += in_flight;
        self.consumer.add(&other.consumer);
        self.endpoint += &other.endpoint;
        self.permits += other.permits;
        self.permits_busy += other.permits_busy;
        self.busyness.add(other.busyness);
        self.permits_busy_mean = self.busyness.mean();
        self.latency.resize(self.latency.len().max(other.latency.len()), 0);
        self.latency.iter_mut().zip(&other.latency).for_each(|(sum, n)| *sum += n);
    }
}

/// Kept as its own type so that a duration never meets a count.
impl Quantiles {
    /// The quantiles with their names, for printing.
    pub fn named(&self) -> [(&'static str, Duration); 4] {
        [("p50", self.p50), ("p90", self.p90), ("p99", self.p99), ("max", self.max)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn the_mean_of_busy_permits_is_over_the_busy_stretch() {
        let pause = |ms| tokio::time::sleep(Duration::from_millis(ms));
        let counters = LaneCounters::new(4);
        pause(50).await;
        let (a, b) = (counters.busy(Instant::now()), counters.busy(Instant::now()));
        pause(40).await;
        let hanging = RouteSnapshot::of_lane(&counters).permits_busy_mean;
        assert!((1.9..=2.0).contains(&hanging), "requests that hang count too: {hanging}");
        drop(a);
        pause(40).await;
        drop(b);
        pause(50).await;
        let route = RouteSnapshot::of_lane(&counters);
        assert_eq!((route.permits, route.permits_busy), (4, 0));
        assert!((1.2..1.8).contains(&route.permits_busy_mean), "{}", route.permits_busy_mean);
    }

    #[test]
    fn a_million_permits_busy_for_a_month_do_not_overflow() {
        let counters = LaneCounters::new(1_000_000);
        let month = Duration::from_secs(30 * 86_400);
        counters.busy_time.origin.set(Instant::now() - month).expect("nothing was busy yet");
        counters.permits_busy.add(1_000_000);
        drop(counters.busy(Instant::now()));
        let mean = RouteSnapshot::of_lane(&counters).permits_busy_mean;
        assert!((999_999.0..1_000_001.0).contains(&mean), "{mean}");
    }

    #[test]
    fn a_lane_that_was_busy_for_a_moment_does_not_count_as_one_that_always_was() {
        let hour = Busyness { area_us: 10 * 3_600_000_000, stretch_us: 3_600_000_000 };
        let second = Busyness { area_us: 5_000_000, stretch_us: 1_000_000 };
        let mut snapshot = Snapshot::default();
        for busyness in [hour, second] {
            snapshot.routes.push(RouteSnapshot { busyness, ..RouteSnapshot::default() });
        }
        let mean = snapshot.total().permits_busy_mean;
        assert!((10.0..10.01).contains(&mean), "{mean}");
    }
}
