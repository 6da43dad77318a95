//! A worker: a thread with a single-threaded runtime, and the lanes that live on it.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::lane::{Lane, StartCause};
use crate::ledger::LaneCounters;
use crate::pipeline::{StartError, Wish};
use crate::settings::LaneSettings;

/// What a worker is started with.
pub(crate) struct WorkerParts {
    pub(crate) number: usize,
    pub(crate) lanes: Vec<(LaneSettings, Arc<LaneCounters>)>,
    pub(crate) shared: delivery::Shared,
    pub(crate) dials_max: usize,
    pub(crate) wish: watch::Receiver<Wish>,
    /// Dropped when the worker has ended, which is how the pipeline learns of it.
    pub(crate) alive: tokio::sync::mpsc::Sender<()>,
}

/// A worker whose lanes are made. They wait, and nothing has been dialled, until [`Worker::run`]; dropped before, it ends.
pub(crate) struct Worker {
    thread: JoinHandle<()>,
    go: mpsc::SyncSender<()>,
}

impl Worker {
    /// Lets its lanes run.
    pub(crate) fn run(self) -> JoinHandle<()> {
        // It waits for nothing else, so it hears this, unless it panicked; then its end is seen like that of any other.
        let _heard = self.go.send(()).is_ok();
        self.thread
    }
}

/// Starts the thread and waits until all its lanes are made, or the first could not be.
pub(crate) fn start(parts: WorkerParts) -> Result<Worker, StartError> {
    let fail = |error| StartError { route: String::new(), cause: StartCause::Worker(error) };
    let (started, wait) = mpsc::sync_channel(1);
    let (go, told) = mpsc::sync_channel(1);
    let thread = std::thread::Builder::new()
        .name(format!("worker-{}", parts.number))
        .spawn(move || run(parts, &started, &told))
        .map_err(fail)?;
    match wait.recv() {
        Ok(Ok(())) => Ok(Worker { thread, go }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(fail(std::io::Error::other("the thread ended at once"))),
    }
}

fn run(parts: WorkerParts, started: &mpsc::SyncSender<Result<(), StartError>>, told: &mpsc::Receiver<()>) {
    // The receiver waits for exactly one report, so a report can be neither blocked nor unheard.
    let report = |result| drop(started.send(result));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            return report(Err(StartError { route: String::new(), cause: StartCause::Worker(error) }));
        }
    };
    runtime.block_on(async {
        let local = delivery::Local::new(parts.dials_max);
        let lanes: Result<Vec<_>, _> = parts
            .lanes
            .into_iter()
            .map(|(settings, counters)| Lane::start(settings, &parts.shared, &local, counters))
            .collect();
        match lanes {
            Ok(lanes) => {
                report(Ok(()));
                // This holds the runtime up, and with it the consumers' tasks, so that nothing is dialled before every worker
                // is known to start.
                if told.recv().is_err() {
                    return;
                }
                let mut running: JoinSet<()> = JoinSet::new();
                for lane in lanes {
                    running.spawn_local(lane.run(parts.wish.clone()));
                }
                while running.join_next().await.is_some() {}
            }
            Err(error) => report(Err(error)),
        }
    });
    drop(parts.alive);
}
