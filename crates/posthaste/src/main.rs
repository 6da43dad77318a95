//! The program: from a queue to an HTTPS API, over connections that are provably reused.
//!
//! # Layout
//! - `cli`: the command line, a flag for every key;
//! - `config`: flags and file, checked whole and resolved into settings;
//! - `run`: the pipeline from its start to its drain; `check`: what a configuration amounts to;
//! - `embedded`: the embedded queue on its thread; `broker`: it alone, with nsqd's flags; `import`: what nsqd has left;
//! - `demo`: the main job shown on this machine;
//! - `signals`, `open_files`, `state_path`, `usage`: what the operating system says and is asked for;
//! - `screen`, `log`, `live`, `summary`, `figures`: what the user sees.
//!
//! Exit codes: 0 done, 1 failed, 64 wrong usage or configuration (`EX_USAGE` of sysexits).

mod broker;
mod check;
mod cli;
mod config;
mod demo;
mod embedded;
mod figures;
mod import;
mod live;
mod log;
mod open_files;
mod run;
mod screen;
mod signals;
mod state_path;
mod summary;
mod usage;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use self::broker::Asked;
use cli::{Flags, Task};
use config::{Mistakes, Place};
use pipeline::{StartCause, StartError};

const WRONG_USAGE: u8 = 64;

fn main() -> ExitCode {
    let mut mistakes = Mistakes::default();
    match cli::read(std::env::args_os().collect(), &mut mistakes) {
        Some(Task::Run(flags)) => run(flags, mistakes),
        Some(Task::Check(path)) => check(&path, mistakes),
        Some(Task::Broker(arguments)) => serve(&arguments, mistakes),
        Some(Task::Demo(asked)) => show(&asked, mistakes),
        Some(Task::Say(text)) => say(&text),
        None => refuse(mistakes),
    }
}

fn run(flags: Flags, mut mistakes: Mistakes) -> ExitCode {
    let mut settings = config::of_flags(flags, &mut mistakes);
    let limit = open_files::raise_limit();
    let needed = open_files::needed(&settings.pipeline);
    if limit.is_some_and(|limit| needed > limit) {
        let reason =
            format!("up to {needed} open files are needed, and the limit is {}", limit.unwrap_or_default());
        let way_out = "raise the limit (ulimit -n, or LimitNOFILE= of systemd), or lower the concurrency";
        mistakes.push(&Place::CommandLine, "concurrency", reason, way_out);
    }
    if !mistakes.is_empty() {
        return refuse(mistakes);
    }
    if let Some(broker) = &mut settings.broker {
        open_files::bound_connections(&mut broker.connections_max, needed, limit);
    }
    run::run(settings).unwrap_or_else(|error| fail(&error))
}

fn serve(arguments: &[OsString], mut mistakes: Mistakes) -> ExitCode {
    let asked = self::broker::read(arguments, &mut mistakes);
    match asked {
        Asked::Say(text) => say(&text),
        Asked::Run(_) if !mistakes.is_empty() => refuse(mistakes),
        Asked::Run(planned) => self::broker::run(*planned).unwrap_or_else(|error| fail(&error)),
    }
}

fn show(asked: &demo::Asked, mistakes: Mistakes) -> ExitCode {
    match mistakes.is_empty() {
        true => demo::run(asked).unwrap_or_else(|error| fail(&error)),
        false => refuse(mistakes),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    // Standard error is all there is to tell it; if that is closed, the exit code has to do.
    let tell = |text: String| drop(writeln!(io::stderr(), "posthaste: {text}"));
    match error.downcast_ref::<StartError>() {
        Some(refused) => {
            tell(refused.to_string());
            let of_settings = matches!(refused.cause, StartCause::Endpoint(_) | StartCause::Consumer(_));
            if of_settings { ExitCode::from(WRONG_USAGE) } else { ExitCode::FAILURE }
        }
        None => {
            tell(chain(error));
            ExitCode::FAILURE
        }
    }
}

/// The error and what caused it, without a cause that the text before it has said already.
fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn check(path: &Path, mut mistakes: Mistakes) -> ExitCode {
    let settings = config::of_file(path, &mut mistakes);
    if mistakes.is_empty() { say(&check::view(path, &settings)) } else { refuse(mistakes) }
}

fn say(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn refuse(mistakes: Mistakes) -> ExitCode {
    drop(io::stderr().write_all(config::render(&mistakes.sorted()).as_bytes()));
    ExitCode::from(WRONG_USAGE)
}
