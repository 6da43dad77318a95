//! What the user wants: read from flags and a file, checked whole, resolved into the settings of each crate.
//!
//! Values pass through four forms, each with one job: `given` (as written, from either source), `raw` (of the right
//! type, with its place), the settings structs of the crates, and in the end nothing: a running process never sees a
//! text to parse.
//!
//! - `keys`: the one description of every key;
//! - `kind`, `given`, `read`, `secret`: a value on its way from text to type;
//! - `file`, `flags`: the two places where values are given;
//! - `resolve`: what belongs together is put together, and checked by the crates that own it;
//! - `place`, `mistake`, `nearest`: what a mistake says;
//! - `document`: `docs/configuration.md`.

#[cfg(test)]
mod document;
mod file;
mod given;
pub(crate) mod keys;
pub(crate) mod kind;
mod mistake;
mod nearest;
mod place;
mod raw;
mod read;
mod resolve;
mod secret;

pub(crate) use mistake::{Mistakes, render, with_flags};
pub(crate) use nearest::nearest;
pub(crate) use place::{Lines, Place};
pub(crate) use resolve::{Settings, refuse_nsqds};

use std::path::Path;

use raw::{Raw, RawRoute};

use crate::cli::Flags;
use keys::{BrokerKeys, Keys, ProcessKeys};

/// A configuration file larger than this is the wrong file.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What the flags of `run` ask for, and the file that they name; of use only if no mistake was found.
pub(crate) fn of_flags(flags: Flags, mistakes: &mut Mistakes) -> Settings {
    let (mut process, mut broker) = (ProcessKeys::default(), BrokerKeys::default());
    let mut route = RawRoute::new(Place::CommandLine);
    for (key, texts) in flags.given {
        let given = given::from_flag(key.flag, key.kind, texts);
        if ProcessKeys::has(key) {
            process.put(key, &given, mistakes);
        } else if BrokerKeys::has(key) {
            broker.put(key, &given, mistakes);
        } else if flags.config.is_none() {
            route.put(key, &given, mistakes);
        } else {
            let way_out = format!("set {} there, under [[route]] or [defaults]", key.name);
            mistakes.push(&given.place, "", "routes come from the file when --config is given", way_out);
        }
    }
    let mut raw = match &flags.config {
        Some(path) => read_file(path, &Place::Flag("--config"), mistakes),
        None => Raw { routes: vec![route], ..Raw::default() },
    };
    // A flag of the process or its queue counts above the file, for trying something once.
    process.fill_from(&raw.process);
    broker.fill_from(&raw.broker);
    (raw.process, raw.broker) = (process, broker);
    resolve::resolve(raw, mistakes)
}

/// What a file asks for by itself; of use only if no mistake was found.
pub(crate) fn of_file(path: &Path, mistakes: &mut Mistakes) -> Settings {
    resolve::resolve(read_file(path, &Place::CommandLine, mistakes), mistakes)
}

fn read_file(path: &Path, named_at: &Place, mistakes: &mut Mistakes) -> Raw {
    let shown = path.display().to_string();
    let size = std::fs::metadata(path).map(|metadata| metadata.len());
    let source = match size {
        Ok(size) if size > FILE_BYTES_MAX => Err(format!("has {size} bytes, more than any configuration")),
        Ok(_) => std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}")),
        Err(error) => Err(format!("cannot be read: {error}")),
    };
    match source {
        Ok(source) => file::parse(&shown, &source, mistakes),
        Err(reason) => {
            mistakes.push(named_at, shown, reason, "name a TOML file");
            Raw::default()
        }
    }
}
