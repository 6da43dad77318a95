//! What most tests stand on: a Posthaste started with the arguments of one route, and its end.

use std::time::Duration;

use serde_json::Value;
use testkit::process::{Exited, Nsqd, Posthaste, Signal};

/// The topic of every test; each has an nsqd of its own.
pub(crate) const TOPIC: &str = "events";
/// The default channel.
pub(crate) const CHANNEL: &str = "posthaste";

/// The arguments of `posthaste run` for one route.
pub(crate) struct Run {
    arguments: Vec<String>,
}

impl Run {
    /// From these nsqds to this URL.
    pub(crate) fn new<'a>(nsqds: impl IntoIterator<Item = &'a Nsqd>, to: &str) -> Run {
        let mut run = Run { arguments: vec!["run".into()] }.with("--topic", TOPIC).with("--to", to);
        for nsqd in nsqds {
            run = run.with("--nsqd-tcp-address", nsqd.tcp_address());
        }
        run.with("--summary", "json")
    }

    /// One more argument with its value.
    pub(crate) fn with(mut self, name: &str, value: impl ToString) -> Run {
        self.arguments.extend([name.to_owned(), value.to_string()]);
        self
    }

    /// One more argument that stands alone.
    pub(crate) fn switch(mut self, name: &str) -> Run {
        self.arguments.push(name.to_owned());
        self
    }

    /// Trusts this certificate authority and no other.
    pub(crate) fn trusting(self, ca_file: &std::path::Path) -> Run {
        self.with("--ca-file", ca_file.display())
    }

    /// Starts it.
    pub(crate) fn start(&self) -> Posthaste {
        Posthaste::run(&self.arguments)
    }

    /// The arguments, for a start that needs more.
    pub(crate) fn arguments(&self) -> &[String] {
        &self.arguments
    }
}

/// Are the long variants asked for (`cargo xtask test --full`)?
pub(crate) fn is_full() -> bool {
    std::env::var_os("POSTHASTE_FULL").is_some()
}

/// An nsqd with the topic and the channel, so that what is published waits for its consumer.
pub(crate) fn nsqd(flags: &[&str]) -> Nsqd {
    let nsqd = Nsqd::start(flags);
    nsqd.create_topic(TOPIC);
    nsqd.create_channel(TOPIC, CHANNEL);
    nsqd
}

/// Publishes bodies with serials 0 to `count`, each of `len` bytes.
pub(crate) fn publish(nsqd: &Nsqd, count: u64, len: usize) {
    nsqd.publish_many(TOPIC, (0..count).map(|serial| testkit::body::body(serial, len)));
}

/// Waits until nsqd has nothing left for the channel: `count` messages finished, none waiting, deferred or in flight.
pub(crate) fn wait_finished(nsqd: &Nsqd, count: u64) {
    nsqd.wait_channel(TOPIC, CHANNEL, |channel| {
        channel.messages == count && channel.depth + channel.in_flight + channel.deferred == 0
    });
}

/// Drains it and returns its balanced summary; it must end within `timeout` with exit code 0.
pub(crate) fn drain_within(posthaste: &Posthaste, timeout: Duration) -> (Value, Exited) {
    posthaste.process.signal(Signal::TERM);
    let exited = posthaste.process.wait(timeout);
    assert_eq!(exited.code, Some(0), "{}", posthaste.process.output());
    let summary = posthaste.summary();
    Posthaste::assert_balanced(&summary);
    (summary, exited)
}

/// As [`drain_within`], for a test to which the time does not matter.
pub(crate) fn drain(posthaste: &Posthaste) -> (Value, Exited) {
    drain_within(posthaste, Duration::from_secs(10))
}

/// A number of a summary.
#[track_caller]
pub(crate) fn number(summary: &Value, name: &str) -> u64 {
    summary[name].as_u64().unwrap_or_else(|| panic!("no {name} in {summary:#}"))
}
