//! A lane: a private share of a route on one worker, from its start to its drain.

use std::future::{Future, pending};
use std::rc::Rc;
use std::sync::Arc;

use client::Consumer;
use delivery::Endpoint;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::backoff::{BackoffSettings, Jitter};
use crate::head_lines::HeadLines;
use crate::journalist::Journalist;
use crate::ledger::LaneCounters;
use crate::permit;
use crate::pipeline::{StartError, Wish};
use crate::settings::LaneSettings;

/// What the permits of a lane share.
pub(crate) struct Lane {
    pub(crate) consumer: Consumer,
    pub(crate) endpoint: Endpoint,
    pub(crate) head_lines: HeadLines,
    pub(crate) idempotency_key: bool,
    pub(crate) backoff: BackoffSettings,
    pub(crate) jitter: Jitter,
    pub(crate) journalist: Rc<Journalist>,
    pub(crate) counters: Arc<LaneCounters>,
    settings: LaneSettings,
}

impl Lane {
    /// Starts the consumer and makes the endpoint; no permit runs yet, so no message is posted.
    pub(crate) fn start(
        settings: LaneSettings,
        shared: &delivery::Shared,
        local: &delivery::Local,
        counters: Arc<LaneCounters>,
    ) -> Result<Lane, StartError> {
        let fail = |cause: StartCause| StartError { route: settings.route.clone(), cause };
        let endpoint = Endpoint::new(&settings.endpoint, shared, local, Arc::clone(&counters.endpoint))
            .map_err(|error| fail(StartCause::Endpoint(error)))?;
        let journalist = Rc::new(Journalist::new(&settings.route));
        let told = Rc::clone(&journalist);
        let consumer =
            Consumer::start(settings.consumer.clone(), Arc::clone(&counters.consumer), move |event| {
                told.event(&event)
            })
            .map_err(|errors| fail(StartCause::Consumer(errors)))?;
        Ok(Lane {
            consumer,
            endpoint,
            head_lines: HeadLines::new(
                &settings.consumer.topic,
                &settings.consumer.channel,
                settings.idempotency_key,
            ),
            idempotency_key: settings.idempotency_key,
            backoff: settings.backoff,
            jitter: Jitter::new(),
            journalist,
            counters,
            settings,
        })
    }

    /// Runs the lane until it is told to drain, and drains it.
    pub(crate) async fn run(self, mut wish: watch::Receiver<Wish>) {
        let lane = Rc::new(self);
        let mut permits = JoinSet::new();
        for _ in 0..lane.settings.endpoint.concurrency {
            permits.spawn_local(permit::run(Rc::clone(&lane)));
        }
        let drain = async {
            // A sender that is gone can wish for nothing more: then drain, too.
            let _gone = wish.wait_for(|wish| *wish == Wish::Drain).await.is_err();
            // A message that waits for a connection is not posted yet. It goes back like one that nobody has taken: a dial
            // or a lookup that hangs would else hold the exit up for as long as a request may take.
            lane.endpoint.close();
            lane.consumer.stop(lane.settings.drain_grace).await;
        };
        tokio::select! {
            () = drain => {}
            () = keep(&mut permits, &lane.settings.route, || permit::run(Rc::clone(&lane))) => {}
        }
        // The consumer has answered every message by now. A request that still runs would deliver one that is back in
        // the queue.
        permits.shutdown().await;
    }
}

/// Starts a permit again whenever one panics. Never done: permits that ended have no more messages to come.
async fn keep<F: Future<Output = ()> + 'static>(
    permits: &mut JoinSet<()>,
    route: &str,
    start: impl Fn() -> F,
) {
    while let Some(ended) = permits.join_next().await {
        if ended.is_err() {
            // The delivery that it held was requeued by its drop. A permit less would be a leak.
            tracing::error!(route, "a permit panicked and is started again");
            permits.spawn_local(start());
        }
    }
    pending().await
}

/// Why a lane cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartCause {
    /// The endpoint's settings cannot be used, a certificate file for example.
    #[error("{0}")]
    Endpoint(#[source] delivery::EndpointError),
    /// The consumer's settings cannot be used.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Consumer(Vec<client::SettingError>),
    /// The thread or its runtime could not be made.
    #[error("a worker could not be started: {0}")]
    Worker(#[source] std::io::Error),
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn permits_that_panic_are_started_again_and_those_that_end_are_not() {
        let started = Rc::new(Cell::new(0));
        let start = || {
            let started = Rc::clone(&started);
            async move {
                started.set(started.get() + 1);
                // The first three panic, and so do the three that replace them.
                assert!(started.get() > 6, "a mistake in a permit");
            }
        };
        let run = async {
            let mut permits = JoinSet::new();
            (0..3).for_each(|_| drop(permits.spawn_local(start())));
            let settled = async {
                while started.get() < 9 {
                    tokio::task::yield_now().await;
                }
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                () = keep(&mut permits, "events", start) => panic!("it is never done"),
                () = settled => {}
            }
            assert!(permits.is_empty());
        };
        tokio::task::LocalSet::new().run_until(run).await;
        assert_eq!(started.get(), 9);
    }
}
