//! One run's surroundings: an nsqd of its own with the messages waiting in memory, and the nginx that all runs share.

use std::time::Duration;

use testkit::body::body;
use testkit::process::{ChannelStats, Nginx, NginxOptions, Nsqd, cpu_with_children};

pub(crate) struct Stage<'a> {
    pub(crate) nginx: &'a Nginx,
    pub(crate) nsqd: Nsqd,
}

/// Connections live as long as the client lets them: how many there are is then the client's doing.
pub(crate) fn nginx() -> Nginx {
    Nginx::start(NginxOptions {
        keepalive_requests: Some(1_000_000),
        keepalive_timeout: Some("3600s".into()),
        ..NginxOptions::tls()
    })
}

impl<'a> Stage<'a> {
    /// Topic and channel.
    pub(crate) const NAME: &'static str = "bench";

    pub(crate) fn set(nginx: &'a Nginx, messages: u64, body_bytes: usize) -> Stage<'a> {
        // All in memory: the disk is not what is compared. Its log would be one line per requeue.
        let nsqd = Nsqd::start(&[&format!("--mem-queue-size={}", messages + 1), "--log-level=error"]);
        nsqd.create_channel(Stage::NAME, Stage::NAME);
        nsqd.publish_many(Stage::NAME, (0..messages).map(|serial| body(serial, body_bytes)));
        nsqd.wait_channel(Stage::NAME, Stage::NAME, |channel| channel.depth == messages);
        Stage { nginx, nsqd }
    }

    /// What nsqd and nginx have used so far.
    pub(crate) fn cpu(&self) -> Duration {
        let daemons = [&self.nsqd.daemon, &self.nginx.daemon];
        daemons.into_iter().map(|daemon| cpu_with_children(daemon.process().pid())).sum()
    }

    pub(crate) fn channel(&self) -> ChannelStats {
        self.nsqd.channel(Stage::NAME, Stage::NAME)
    }
}
