//! `posthaste demo`: the main job on this machine, with nothing to install, and the proof of it.
//!
//! 1. An HTTPS endpoint with a certificate of its own, and the embedded queue, on free ports of 127.0.0.1.
//! 2. A sender that trusts another authority is turned away: the certificate is really verified.
//! 3. Events are published over NSQ's protocol; every OK means that they are on the disk.
//! 4. They are delivered, by the settings that `posthaste run` makes of the flags that a user would type.
//! 5. Some of them are sent the naive way, a connection each.
//! 6. What both sides counted is held against each other; a figure that does not add up fails the demo.
//!
//! - `events`, `certificate`, `endpoint`, `naive`: the parts; `stage`: the parts put together;
//! - `report`: the figures, whether they add up, and how they are shown.

mod certificate;
mod endpoint;
mod events;
mod naive;
mod report;
mod stage;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use tracing::level_filters::LevelFilter;

use crate::log::{self, LogFormat, LogSettings};
use crate::open_files;
use crate::screen::Screen;
use crate::signals::Signals;
use report::Report;
use stage::Stage;

/// Events of one run: they are held in memory, and the demo is to be over soon.
pub(crate) const EVENTS_MAX: u32 = 1_000_000;

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The user's own events.
    pub(crate) events: Option<PathBuf>,
    /// How many to make up otherwise.
    pub(crate) messages: u32,
    /// The report as JSON.
    pub(crate) json: bool,
}

/// Shows it.
///
/// # Errors
/// Whatever keeps it from being shown.
pub(crate) fn run(asked: &Asked) -> anyhow::Result<ExitCode> {
    let events = match &asked.events {
        Some(path) => events::read(path)?,
        None => events::make(asked.messages),
    };
    // Loopback has both ends of every connection here; where the limit is low, dials wait.
    open_files::raise_limit();
    let (screen, closing) =
        Screen::open().context("cannot start the thread that writes to standard error")?;
    log::start(LogSettings { level: LevelFilter::WARN, format: Some(LogFormat::Human) }, &screen);
    let report = play(&events, &screen);
    screen.close(&closing);
    let report = report?;
    let written = match asked.json {
        true => io::stdout().write_all(report.json().as_bytes()),
        false => io::stdout().write_all(report.human(&typed_name()).as_bytes()),
    };
    written.context("cannot write the report")?;
    let contradictions = report.contradictions();
    if !contradictions.is_empty() {
        bail!("the figures do not add up: {}", contradictions.join("; "));
    }
    Ok(ExitCode::SUCCESS)
}

fn play(events: &[bytes::Bytes], screen: &Screen) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .context("cannot start a runtime")?;
    // Before anything is set up, so that no signal leaves any of it behind.
    let mut signals = runtime.block_on(async { Signals::listen() }).context("cannot listen for signals")?;
    let stage = Stage::set(screen, &runtime)?;
    runtime.block_on(async {
        let played = tokio::select! {
            biased;
            signal = signals.next() => Err(anyhow!("stopped by {signal}")),
            report = stage.play(events) => report,
        };
        // Whatever came of it: nothing of what was set up was anyone's.
        let struck = tokio::select! {
            biased;
            signal = signals.next() => Err(anyhow!("{signal} while the demo was put away")),
            struck = stage.strike() => struck,
        };
        let report = played?;
        struck.map(|()| report)
    })
}

/// How the program was called, so that what it tells to type can be typed.
fn typed_name() -> String {
    std::env::args().next().unwrap_or_else(|| "posthaste".to_owned())
}
