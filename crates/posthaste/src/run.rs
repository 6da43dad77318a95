//! `posthaste run`: from settings to a running pipeline, and from a signal to its end.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use pipeline::{Pipeline, PipelineSettings, RouteSettings, Snapshot};
use tokio::runtime::Runtime;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{error, info, warn};

use crate::config::Settings;
use crate::embedded::{Before, Embedded};
use crate::live::{self, LiveLine};
use crate::log;
use crate::screen::Screen;
use crate::signals::Signals;
use crate::summary::{Summary, SummaryForm};
use crate::usage::Usage;

/// How a run came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// A signal asked for it, and every message was answered.
    Drained,
    /// A second signal did not want to wait.
    Stopped,
    /// Nobody asked for it.
    Failed,
}

/// Delivers until a signal ends it, and tells what was done.
///
/// # Errors
/// Whatever keeps it from starting.
pub(crate) fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    let (screen, closing) =
        Screen::open().context("cannot start the thread that writes to standard error")?;
    log::start(settings.log, &screen);
    settings.warnings.iter().for_each(|warning| warn!("{warning}"));

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let began = Instant::now();
    let ended = with_queue(settings.pipeline, settings.broker, &runtime, &screen);
    screen.close(&closing);
    let (ending, snapshot) = ended?;
    let summary = Summary::of(&snapshot, Usage::since(began));
    write_summary(&summary, settings.summary).context("cannot write the summary")?;
    Ok(match ending {
        Ending::Drained => ExitCode::SUCCESS,
        Ending::Stopped | Ending::Failed => ExitCode::FAILURE,
    })
}

/// Runs the pipeline within the life of the embedded queue, if a route uses it: the queue serves before the first lane
/// asks it for messages, and takes its leave when the last lane has given back what it held.
fn with_queue(
    mut settings: PipelineSettings,
    broker: Option<broker::Settings>,
    runtime: &Runtime,
    screen: &Screen,
) -> anyhow::Result<(Ending, Snapshot)> {
    runtime.block_on(async {
        // Before anything is held, so that no signal can find messages and no one to give them back.
        let mut signals = Signals::listen().context("cannot listen for signals")?;
        let Some(broker) = broker else { return deliver(settings, signals, None, screen).await };
        let started = Embedded::start_unless(broker, Before::Nothing, &mut signals).await;
        let Some(queue) = started.context("the embedded queue cannot start")? else {
            return Ok((Ending::Drained, Snapshot::default()));
        };
        info!("{}", queue.served());
        queue.served().attach(&mut settings);
        deliver(settings, signals, Some(queue), screen).await
    })
}

/// Runs the pipeline to its end, and shows how it is doing; then stops the queue.
async fn deliver(
    settings: PipelineSettings,
    mut signals: Signals,
    mut queue: Option<Embedded>,
    screen: &Screen,
) -> anyhow::Result<(Ending, Snapshot)> {
    let routes = settings.routes.clone();
    let mut pipeline = pipeline::start(settings)?;
    say(&routes);
    let mut live = LiveLine::new();
    let mut ticks = interval(live::INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut draining, mut failed) = (false, false);
    let ending = loop {
        tokio::select! {
            biased;
            signal = signals.next() => {
                if draining {
                    warn!("{signal} again: stopping at once");
                    break Ending::Stopped;
                }
                info!("{signal}: draining; once more stops at once");
                pipeline.drain();
                draining = true;
            }
            () = pipeline.finished() => break if draining { Ending::Drained } else { Ending::Failed },
            Some(ended) = ended(&mut queue), if !draining => {
                error!("the embedded queue has ended: {}", ended.err().unwrap_or_else(|| anyhow!("nobody asked for it")));
                queue = None;
                pipeline.drain();
                failed = true;
                draining = true;
            }
            _ = ticks.tick(), if screen.is_terminal() => screen.live(live.next(&pipeline.snapshot(), draining)),
        }
    };
    if ending == Ending::Failed {
        error!("every worker has ended though nobody asked for it");
    }
    let snapshot = pipeline.snapshot();
    leave(pipeline, ending);
    let ending = match (queue, ending) {
        (Some(queue), Ending::Drained | Ending::Failed) => {
            info!("the lanes are done: publishes are refused from now on, and what was published is synced");
            match stop(queue, &mut signals).await {
                Ok(true) => ending,
                Ok(false) => Ending::Stopped,
                Err(error) => {
                    error!("{error:#}");
                    Ending::Failed
                }
            }
        }
        (_, ending) => ending,
    };
    Ok((if failed { Ending::Failed } else { ending }, snapshot))
}

/// The end of the queue, if there is one; it ends by itself only when something is wrong.
async fn ended(queue: &mut Option<Embedded>) -> Option<anyhow::Result<()>> {
    match queue {
        Some(queue) => Some(queue.ended().await),
        None => None,
    }
}

/// Stops the queue; false when a signal did not want to wait for it.
async fn stop(queue: Embedded, signals: &mut Signals) -> anyhow::Result<bool> {
    tokio::select! {
        biased;
        signal = signals.next() => {
            warn!("{signal} again: stopping at once");
            Ok(false)
        }
        stopped = queue.stop() => stopped.map(|()| true),
    }
}

fn say(routes: &[RouteSettings]) {
    for route in routes {
        info!(
            route = route.name,
            to = %route.endpoint.url,
            concurrency = route.concurrency,
            max_in_flight = route.max_in_flight(),
            lanes = route.lanes,
            "delivering {}/{}",
            route.consumer.topic,
            route.consumer.channel,
        );
    }
}

/// A pipeline that is stopped at once is left to the end of the process: dropping it would drain it.
fn leave(pipeline: Pipeline, ending: Ending) {
    if ending == Ending::Stopped {
        std::mem::forget(pipeline);
    }
}

fn write_summary(summary: &Summary, form: SummaryForm) -> io::Result<()> {
    match form {
        SummaryForm::Human => io::stderr().write_all(summary.human().as_bytes()),
        SummaryForm::Json => io::stdout().write_all(summary.json().as_bytes()),
        SummaryForm::None => Ok(()),
    }
}
