//! The queue over a simulated disk: nsqd's semantics, a model, and crashes.

mod crash;
mod damaged;
mod failing;
mod full;
mod lost_records;
mod model;
mod semantics;
mod tripwire;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use journal::FileSystem;
use journal::simulated::Simulated;
use tokio::task::{JoinHandle, LocalSet};
use wire::{ChannelName, TopicName};

use super::{ChannelStats, Commit, Handed, Queue, Recovery, Refused, Subscription, TopicStats};
use crate::client::Client;
use crate::settings::Settings;

fn topic(name: &str) -> TopicName {
    TopicName::new(name).expect("a valid name")
}

fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).expect("a valid name")
}

/// Small segments, so that rewriting and retiring happen; syncs in place, so that a run can be repeated.
fn settings() -> Settings {
    Settings {
        data_path: "/queue".into(),
        segment_bytes: Some(64 * 1024),
        disk_reserve_bytes: 1 << 20,
        sync_inline: true,
        ..Settings::default()
    }
}

/// An open queue with its driver.
struct Open {
    queue: Queue,
    driver: JoinHandle<()>,
    clients: Cell<u64>,
    recovery: Recovery,
}

impl Open {
    fn new(fs: Arc<dyn FileSystem>, settings: &Settings) -> Self {
        Self::try_new(fs, settings).expect("it opens")
    }

    fn try_new(fs: Arc<dyn FileSystem>, settings: &Settings) -> Result<Self, super::OpenError> {
        let (queue, recovery) = Queue::open(fs, settings)?;
        let driver = tokio::task::spawn_local(queue.clone().run());
        Ok(Self { queue, driver, clients: Cell::new(0), recovery })
    }

    fn on(disk: &Simulated) -> Self {
        Self::new(Arc::new(disk.clone()), &settings())
    }

    /// As kill -9: nothing is written any more. Whoever is subscribed must have been dropped before, or is leaked.
    async fn kill(self, disk: &Simulated) -> Simulated {
        let disk = disk.kill();
        self.forget().await;
        disk
    }

    /// Without a word to the disk, which is dead.
    async fn forget(self) {
        self.driver.abort();
        self.driver.await.ok();
    }

    async fn stored(&self, commit: Result<Commit, impl std::fmt::Debug>) {
        self.queue.committed(commit.expect("it is taken")).await.expect("it is stored");
    }

    async fn publish(&self, to: &str, body: &str) {
        let body = [Bytes::copy_from_slice(body.as_bytes())];
        self.stored(self.queue.publish(&topic(to), &body, Duration::ZERO)).await;
    }

    async fn publish_all(&self, to: &str, bodies: impl IntoIterator<Item = String>) {
        let bodies: Vec<Bytes> = bodies.into_iter().map(Bytes::from).collect();
        self.stored(self.queue.publish(&topic(to), &bodies, Duration::ZERO)).await;
    }

    fn subscribe(&self, to: &str, name: &str, ready: u32) -> Subscription {
        self.subscribe_with(to, name, ready, Duration::from_secs(60))
    }

    fn subscribe_with(&self, to: &str, name: &str, ready: u32, msg_timeout: Duration) -> Subscription {
        self.clients.set(self.clients.get() + 1);
        let client = Client::new(self.clients.get(), "127.0.0.1:1".to_owned(), 0, msg_timeout);
        let subscribed = self.queue.subscribe(&topic(to), &channel(name), Rc::new(client));
        let mut subscription = subscribed.expect("there is room for one more");
        subscription.set_ready(ready);
        subscription
    }

    fn topic_stats(&self, to: &str) -> TopicStats {
        self.queue.stats(Some(to), None).pop().expect("the topic is there")
    }

    fn channel_stats(&self, to: &str, name: &str) -> ChannelStats {
        self.queue.stats(Some(to), Some(name)).pop().expect("the topic").channels.pop().expect("the channel")
    }

    /// Depth, in flight, deferred.
    fn counts(&self, to: &str, name: &str) -> (u64, u64, u64) {
        let stats = self.channel_stats(to, name);
        (stats.depth, stats.in_flight_count, stats.deferred_count)
    }
}

/// What is there now.
fn take(subscription: &mut Subscription) -> Option<Handed> {
    match subscription.poll_next(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(handed) => handed,
        Poll::Pending => None,
    }
}

fn text(handed: &Handed) -> String {
    String::from_utf8(handed.body.to_vec()).expect("tests publish text")
}

/// What is there, as text, each finished.
fn drain(subscription: &mut Subscription) -> Vec<String> {
    let mut bodies = Vec::new();
    while let Some(handed) = take(subscription) {
        subscription.finish(handed.head.id).expect("it is in flight");
        bodies.push(text(&handed));
    }
    bodies
}

/// Time for group commits, ticks and checkpoints.
async fn pass(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Runs a test on a runtime whose time is its own.
fn simulate<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.expect("a runtime without I/O"), test)
}

/// Numbers that follow from a seed.
struct Chance(u64);

impl Chance {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end.max(1)
    }
}

/// How often a test runs: `POSTHASTE_FULL=1` asks for the large form.
fn seeds(small: u64, full: u64) -> std::ops::Range<u64> {
    let is_full = std::env::var_os("POSTHASTE_FULL").is_some_and(|value| value != "0");
    0..if is_full { full } else { small }
}

fn is_refused<T>(result: Result<T, Refused>) -> bool {
    result.is_err()
}
