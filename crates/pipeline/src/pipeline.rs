//! The pipeline as its caller sees it: started whole or not at all, looked at, drained.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, watch};

use crate::lane::StartCause;
use crate::ledger::{LaneCounters, RouteSnapshot, Snapshot};
use crate::settings::PipelineSettings;
use crate::worker::{self, Worker, WorkerParts};

/// What the lanes are wished to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Run,
    Drain,
}

/// The pipeline could not be started.
#[derive(Debug, thiserror::Error)]
#[error("{}{cause}", if route.is_empty() { String::new() } else { format!("route {route}: ") })]
pub struct StartError {
    /// The route whose settings cannot be used; empty where it is none's fault.
    pub route: String,
    /// What is wrong.
    #[source]
    pub cause: StartCause,
}

/// A running pipeline. Dropping it drains it without waiting.
#[derive(Debug)]
pub struct Pipeline {
    wish: watch::Sender<Wish>,
    /// Closes when the last worker has ended.
    alive: mpsc::Receiver<()>,
    workers: Vec<JoinHandle<()>>,
    routes: Vec<(String, Vec<Arc<LaneCounters>>)>,
}

/// Starts every lane of every route.
///
/// # Errors
/// The first route whose settings cannot be used. Nothing has run then: no lane dials before the last one is made.
pub fn start(settings: PipelineSettings) -> Result<Pipeline, StartError> {
    let lanes: usize = settings.routes.iter().map(|route| route.lanes).sum();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = settings.threads.unwrap_or(processors).clamp(1, lanes.max(1));
    let (wish, wished) = watch::channel(Wish::Run);
    let (alive_sender, alive) = mpsc::channel(1);
    let shared = delivery::Shared::new();

    let mut spread: Vec<Vec<_>> = (0..threads).map(|_| Vec::new()).collect();
    let mut routes = Vec::new();
    let mut turn = 0;
    for route in &settings.routes {
        let mut counters = Vec::new();
        for lane in 0..route.lanes {
            let settings = route.lane(lane);
            let lane_counters = Arc::new(LaneCounters::new(settings.endpoint.concurrency));
            counters.push(Arc::clone(&lane_counters));
            spread[turn % threads].push((settings, lane_counters));
            turn += 1;
        }
        routes.push((route.name.clone(), counters));
    }

    let mut workers = Vec::new();
    for (number, lanes) in spread.into_iter().enumerate() {
        workers.push(worker::start(WorkerParts {
            number,
            lanes,
            shared: shared.clone(),
            dials_max: settings.dials_max,
            wish: wished.clone(),
            alive: alive_sender.clone(),
        })?);
    }
    let workers = workers.into_iter().map(Worker::run).collect();
    Ok(Pipeline { wish, alive, workers, routes })
}

impl Pipeline {
    /// What has happened so far, over all lanes, by route.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            routes: self.routes.iter().map(|(name, lanes)| RouteSnapshot::of(name.clone(), lanes)).collect(),
        }
    }

    /// Asks every lane to drain: no new message is posted, those under way are finished or requeued.
    pub fn drain(&self) {
        self.wish.send_replace(Wish::Drain);
    }

    /// Waits until every worker has ended, which only [`Pipeline::drain`] brings about. Safe to cancel.
    pub async fn finished(&mut self) {
        while self.alive.recv().await.is_some() {}
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                tracing::error!(
                    "a worker panicked: its messages come back when their nsqd's timeout has passed"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use client::{ConsumerSettings, Source};
    use delivery::{EndpointSettings, EndpointUrl, Roots};
    use testkit::nsqd::ScriptedNsqd;

    use super::*;
    use crate::backoff::BackoffSettings;
    use crate::settings::RouteSettings;

    fn route(nsqd: &ScriptedNsqd, roots: Roots) -> RouteSettings {
        let source = Source::Nsqds(vec![nsqd.address().to_string()]);
        let (topic, channel) = ("events".parse().expect("a name"), "tests".parse().expect("a name"));
        let mut endpoint = EndpointSettings::new(EndpointUrl::parse("https://127.0.0.1:1/").expect("a URL"));
        endpoint.tls.roots = roots;
        RouteSettings {
            name: "r".to_owned(),
            consumer: ConsumerSettings::new(topic, channel, source),
            endpoint,
            lanes: 1,
            concurrency: 2,
            max_in_flight: None,
            idempotency_key: true,
            backoff: BackoffSettings::default(),
            drain_grace: Duration::from_secs(1),
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "no runtime is here that it could hold up")]
    fn nothing_is_dialled_when_the_last_worker_cannot_start() {
        let nsqd = ScriptedNsqd::start();
        // A certificate that was there when the settings were checked, and is not any more.
        let gone = Roots::Files(vec!["/nonexistent/authority.pem".into()]);
        let start_with = |roots| {
            let routes = vec![route(&nsqd, Roots::System), route(&nsqd, roots)];
            start(PipelineSettings { routes, threads: Some(2), dials_max: 16 })
        };
        let error = start_with(gone).expect_err("the second route cannot start");
        assert!(matches!(error.cause, StartCause::Endpoint(_)), "{error}");
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(nsqd.counts().accepted, 0);
        let pipeline = start_with(Roots::System).expect("both can");
        let began = std::time::Instant::now();
        while nsqd.counts().accepted < 2 {
            assert!(began.elapsed() < testkit::PATIENCE, "both are dialled now");
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(pipeline);
    }
}
