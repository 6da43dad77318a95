//! `posthaste broker --help`, made from the flags.

use std::fmt::Write;

use super::flags::{FLAGS, Flag, Takes, Unused};

const HEAD: &str = "\
The embedded queue alone: a durable stand-in for nsqd, until SIGINT or SIGTERM

Usage: posthaste broker [FLAGS]

Every flag of nsqd is taken, with one dash or two, and nsqd's file by --config. Without a flag that says where this node
is to be found it listens on 127.0.0.1; with one, on nsqd's addresses, 0.0.0.0:4150 and :4151.

Flags:
";

/// The whole text.
pub(super) fn text() -> String {
    let mut text = HEAD.to_owned();
    for flag in FLAGS {
        if !matches!(flag.takes, Takes::Unused { .. }) {
            line(&mut text, flag);
        }
    }
    text.push_str("\nTaken, with a warning, and of no use here:\n");
    for flag in FLAGS {
        if let Takes::Unused { why, .. } = flag.takes {
            writeln!(text, "  {:<38} {why}", flag.name).expect("a string takes everything");
        }
    }
    text.push_str("\nExit codes: 0 done, 1 failed, 64 wrong usage.\n");
    text
}

/// What `--version` says: whose protocol it is matters to those who look for nsqd.
pub(super) fn version() -> String {
    format!("posthaste {} (serves as nsqd v{})\n", env!("CARGO_PKG_VERSION"), broker::settings::NSQD_VERSION)
}

fn line(text: &mut String, flag: &Flag) {
    let value = match flag.takes {
        Takes::Text(_) | Takes::Texts(_) => " TEXT",
        Takes::ConfigFile => " FILE",
        Takes::Word(_) => " WORD",
        Takes::WordSwitch(_) => "[=WORD]",
        Takes::Whole { .. } => " N",
        Takes::Time(_) => " TIME",
        Takes::Switch(_) | Takes::Version | Takes::Unused { kind: Unused::Switch, .. } => "",
        Takes::Unused { .. } => " ...",
    };
    let named = format!("{}{value}", flag.name);
    writeln!(text, "  {named:<38} {}", flag.about).expect("a string takes everything");
}
