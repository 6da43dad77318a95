//! `posthaste broker`: the embedded queue alone, a durable stand-in for nsqd.
//!
//! - `flags`: every flag of nsqd and a few more, one table; `go`, `words`: how their values are read;
//! - `given`, `file`: the command line and nsqd's TOML, brought into a `draft` by one set of rules;
//! - `resolve`: the rules over more than one flag: where it listens, TLS, whom it may register with;
//! - `help`: what `--help` says;
//! - here: from flags to a running queue, and from a signal to its end.

mod draft;
mod file;
mod flags;
mod given;
mod go;
mod help;
mod resolve;
mod words;

use std::convert::Infallible;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::config::{Mistakes, Place, refuse_nsqds};
use crate::embedded::{Before, Embedded, Looker, Seen};
use crate::figures::{bytes, count, counted};
use crate::screen::Screen;
use crate::signals::Signals;
use crate::{live, log, open_files};
use flags::Takes;
use given::Value;

pub(crate) use resolve::Planned;

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Asked {
    Run(Box<Planned>),
    /// Write this and be done: help or version.
    Say(String),
}

/// Reads the command line behind `posthaste broker`; of use only if no mistake was found.
pub(crate) fn read(arguments: &[OsString], mistakes: &mut Mistakes) -> Asked {
    let wants = |names: &[&str]| arguments.iter().any(|argument| names.iter().any(|name| argument == name));
    if wants(&["-h", "-help", "--help"]) {
        return Asked::Say(help::text());
    }
    let flags = given::read_line(arguments, mistakes);
    if flags.iter().any(|given| matches!(given.flag.takes, Takes::Version)) {
        return Asked::Say(help::version());
    }
    let mut warnings = Vec::new();
    let named = flags.iter().find(|given| matches!(given.flag.takes, Takes::ConfigFile));
    let file = match named.map(|given| &given.value) {
        // As for nsqd, a file without a name is none.
        Some(Value::Text(path)) if !path.is_empty() => {
            file::read(&PathBuf::from(path), mistakes, &mut warnings)
        }
        _ => Vec::new(),
    };
    let planned = resolve::resolve(&flags, &file, warnings, mistakes);
    if !planned.import_nsqd {
        let given = flags.iter().chain(&file).find(|given| given.flag.name == "--data-path");
        let place = given.map_or(Place::CommandLine, |given| given.place.clone());
        refuse_nsqds(&place, &planned.settings.data_path, "--import-nsqd takes them over", mistakes);
    }
    Asked::Run(Box::new(planned))
}

/// Serves until a signal ends it.
///
/// # Errors
/// Whatever keeps it from starting, and a last sync that failed.
pub(crate) fn run(planned: Planned) -> anyhow::Result<ExitCode> {
    let Planned { mut settings, import_nsqd, log, warnings } = planned;
    let (screen, closing) =
        Screen::open().context("cannot start the thread that writes to standard error")?;
    log::start(log, &screen);
    warnings.iter().for_each(|warning| warn!("{warning}"));
    open_files::bound_connections(
        &mut settings.connections_max,
        open_files::RESERVE,
        open_files::raise_limit(),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let before = if import_nsqd { Before::Import } else { Before::Nothing };
    let ended = runtime.block_on(async {
        // Before anything is done, so that every signal is answered alike.
        let mut signals = Signals::listen().context("cannot listen for signals")?;
        match start(settings, before, &mut signals).await? {
            Some(queue) => serve(queue, signals, &screen).await,
            None => Ok(ExitCode::SUCCESS),
        }
    });
    screen.close(&closing);
    ended
}

/// Starts it; `None` when a signal came before it served.
async fn start(
    settings: broker::Settings,
    before: Before,
    signals: &mut Signals,
) -> anyhow::Result<Option<Embedded>> {
    let began = Instant::now();
    let Some(queue) = Embedded::start_unless(settings, before, signals).await? else { return Ok(None) };
    match &queue.served().imported {
        Some(imported) => info!("{imported}"),
        None if before == Before::Import => info!("there is nothing of nsqd to take over"),
        None => {}
    }
    info!("{}, {} ms after its start", queue.served(), began.elapsed().as_millis());
    Ok(Some(queue))
}

async fn serve(mut queue: Embedded, mut signals: Signals, screen: &Screen) -> anyhow::Result<ExitCode> {
    let looker = queue.looker();
    tokio::select! {
        biased;
        signal = signals.next() => {
            info!("{signal}: publishes are refused from now on, and what was published is synced; once more stops at once");
        }
        ended = queue.ended() => return ended.map(|()| ExitCode::FAILURE),
        never = show(&looker, screen), if screen.is_terminal() => match never {},
    }
    tokio::select! {
        biased;
        signal = signals.next() => {
            warn!("{signal} again: stopping at once");
            Ok(ExitCode::FAILURE)
        }
        stopped = queue.stop() => stopped.map(|()| ExitCode::SUCCESS),
    }
}

/// Shows what it holds, for as long as it is let: a queue that does not answer holds up nothing but this.
async fn show(looker: &Looker, screen: &Screen) -> Infallible {
    let mut ticks = interval(live::INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Some(seen) = looker.look().await {
            screen.live(line(&seen));
        }
    }
}

fn line(seen: &Seen) -> String {
    let Seen { queue, connections } = seen;
    let mut line = format!(
        "{} held | {} | {} group commits | {}",
        counted(queue.messages, "message"),
        bytes(queue.bytes),
        count(queue.commits),
        counted(connections.open as u64, "connection"),
    );
    for (number, what) in [(connections.refused, "refused"), (connections.accept_failures, "not accepted")] {
        if number > 0 {
            line += &format!(" | {} {what}", count(number));
        }
    }
    line
}
