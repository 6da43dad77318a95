//! What Posthaste's tests stand on: peers that do exactly what a script says and count what really happened, and runners for
//! the real programs. Used by tests only, never shipped.
//!
//! | to have | use |
//! |---|---|
//! | an HTTP(S) server that answers early, late, split, for ever or not at all, acts on idle connections, counts connections, handshakes, requests | [`endpoint::Endpoint`] |
//! | an nsqd that sends anything, and a record of every command | [`nsqd::ScriptedNsqd`] |
//! | the real thing | [`process::Nsqd`], [`process::Nsqlookupd`], [`process::Nginx`], [`process::Posthaste`] |
//! | network faults between real peers | [`proxy::Proxy`]; packets dropped silently: [`namespace::Namespace`] |
//! | a dial that hangs; ports; the kernel's view of sockets | [`ports::Blackhole`], [`ports::Reserved`], [`ports::sockets_to`] |
//! | certificates | [`certs::Authority`] |
//! | nsqd's auth server | [`auth::AuthServer`] |
//! | bodies that prove themselves, and who was delivered how often | [`body::body`], [`ledger::Ledger`] |
//! | "here, not earlier": a script that stops until the test says so | [`Gate`] |
//!
//! # How to write a test with it
//!
//! * **Assert that the fault fired.** Every scripted act is counted under a name (`counts().fired("reset")`); so are dropped
//!   packets ([`namespace::Dropped::packets`]) and proxied faults. A test whose fault never happened passes for nothing.
//! * **Tell bodies apart by serials.** `body(serial, len)` makes them, the endpoint judges them by itself, and
//!   `endpoint.ledger().assert_exactly_once(0..n)` or `assert_all_delivered` closes the account.
//! * **Wait for counts, do not sleep.** `wait...` blocks the thread, for tests of the binary; `until...` is awaited, for tests that
//!   run the code under test on their own thread. Both panic after [`PATIENCE`] and print what they saw. Both use the wall clock,
//!   so they are not for tests with paused time.
//! * **Everything runs elsewhere.** Scripted servers have threads and runtimes of their own; a call that acts on them
//!   ([`endpoint::Endpoint::on_idle`]) may block, but only for the server, never for the code under test. That is how a stray
//!   answer can be in a socket before that socket's owner has polled again.
//! * **Nothing is left behind.** Values end what they stand for when they are dropped, also in a panic; child processes are killed
//!   even if the test process is.
//! * **Measurements are [`exclusive`]** and, where they hang on every millisecond, [`undisturbed`]; a test that burns CPU beside
//!   them takes [`shared`]. A test that cannot run here says so
//!   with [`skip`] and returns.
//!
//! ```no_run
//! use std::time::Duration;
//! use testkit::{body::body, endpoint::{Answer, Endpoint}, process::{Nsqd, Posthaste, Signal}};
//!
//! # fn main() {
//! let nsqd = Nsqd::start(&["--msg-timeout=2s"]);
//! nsqd.create_channel("events", "posthaste");
//! nsqd.publish_many("events", (0..200).map(|serial| body(serial, 1024)));
//! let endpoint = Endpoint::https(Answer::ok().after(Duration::from_secs(7)));
//! let nsqd_address = nsqd.tcp_address().to_string();
//! let posthaste = Posthaste::run([
//!     "run", "--topic", "events", "--nsqd-tcp-address", &nsqd_address, "--to", &endpoint.url_by_name("/hook"),
//!     "--ca-file", endpoint.ca_file().to_str().expect("a path in UTF-8"), "--concurrency", "100", "--summary", "json",
//! ]);
//! let channel = nsqd.wait_channel("events", "posthaste", |channel| channel.finished() == 200);
//! assert_eq!((channel.timeouts, channel.requeues), (0, 0));
//! endpoint.ledger().assert_exactly_once(0..200);
//! assert_eq!(endpoint.counts().fired("sleep"), 200);
//!
//! posthaste.process.signal(Signal::TERM);
//! assert_eq!(posthaste.process.wait(Duration::from_secs(2)).code, Some(0));
//! let summary = posthaste.summary();
//! Posthaste::assert_balanced(&summary);
//! assert_eq!(summary["dials"], endpoint.counts().accepted);
//! # }
//! ```
//!
//! The kit shares no protocol code with the crates it tests: both the NSQ and the HTTP side are written here once more, small and
//! strict, so that a mistake is not made twice in the same way. Its own tests hold it against std sockets, rustls' client, and
//! NSQ's own tools.

pub mod auth;
pub mod body;
pub mod certs;
pub mod endpoint;
pub mod ledger;
pub mod namespace;
pub mod nsqd;
pub mod ports;
pub mod process;
pub mod proxy;

mod alarm;
mod board;
mod gate;
mod http;
mod kill;
mod server;
mod turn;
mod undisturbed;

use std::path::PathBuf;

pub use gate::{Gate, PATIENCE};
pub use kill::Kill;
pub use turn::{Turn, exclusive, shared, skip};
pub use undisturbed::{undisturbed, undisturbed_rounds};

/// The root of the repository.
fn workspace() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().unwrap_or(root)
}

/// May this process do what only root may?
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
