//! The loop over rounds and peers, and what comes of each run.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testkit::process::Nginx;

use crate::measured::{self, Cost};
use crate::options::Options;
use crate::peer::Peer;
use crate::stage::{self, Stage};

/// One run of one peer.
pub(crate) struct Run {
    pub(crate) peer: Peer,
    pub(crate) round: usize,
    /// Requests that nginx has served.
    pub(crate) requests: u64,
    /// Connections that nginx has accepted.
    pub(crate) connections: u64,
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    /// CPU time of nsqd and nginx together meanwhile.
    pub(crate) cpu_of_others: Duration,
    pub(crate) peak_rss_bytes: u64,
    pub(crate) requeued: u64,
    pub(crate) timed_out: u64,
    /// Posthaste's own account.
    pub(crate) summary: Option<Value>,
}

/// A B A B: every peer once, then all again.
pub(crate) fn all(options: &Options) -> Result<Vec<Run>> {
    let nginx = stage::nginx();
    let mut runs = Vec::new();
    for round in 1..=options.rounds {
        for &peer in &options.peers {
            let run = one(peer, round, options, &nginx)
                .with_context(|| format!("{}, round {round}", peer.name()))?;
            println!("bench: round {round}/{}: {}", options.rounds, run.line());
            runs.push(run);
        }
    }
    Ok(runs)
}

fn one(peer: Peer, round: usize, options: &Options, nginx: &Nginx) -> Result<Run> {
    let messages = peer.messages(options) as u64;
    let stage = Stage::set(nginx, messages, options.body_bytes);
    let before = nginx.counts();
    let others_before = stage.cpu();
    let is_drained = || messages > 0 && stage.channel().finished() == messages;
    let Cost { wall, cpu, peak_rss_bytes, stdout } =
        measured::run(peer.name(), peer.command(options, &stage), is_drained)?;
    let cpu_of_others = stage.cpu() - others_before;
    let (after, channel) = (nginx.counts(), stage.channel());
    let requests = after.requests - before.requests;
    ensure!(channel.finished() == messages, "messages are left: {channel:?}");
    ensure!(requests >= messages && requests > 0, "{requests} requests for {messages} messages");
    let summary = match peer.summarises() {
        true => Some(serde_json::from_str(&stdout).with_context(|| format!("its summary is {stdout}"))?),
        false => None,
    };
    Ok(Run {
        peer,
        round,
        requests,
        connections: after.accepted - before.accepted,
        wall,
        cpu,
        cpu_of_others,
        peak_rss_bytes,
        requeued: channel.requeues,
        timed_out: channel.timeouts,
        summary,
    })
}

impl Run {
    /// CPU time of the whole process per request served, µs.
    pub(crate) fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.requests as f64
    }

    /// CPU time of nsqd and nginx per request served, µs.
    pub(crate) fn cpu_us_of_others(&self) -> f64 {
        self.cpu_of_others.as_secs_f64() * 1e6 / self.requests as f64
    }

    /// Requests per second of the wall clock.
    pub(crate) fn rate(&self) -> f64 {
        self.requests as f64 / self.wall.as_secs_f64()
    }

    pub(crate) fn peak_mib(&self) -> f64 {
        self.peak_rss_bytes as f64 / f64::from(1 << 20)
    }

    /// By how much Posthaste's own account differs from nginx's, over dials, handshakes and requests.
    pub(crate) fn miscounted(&self) -> u64 {
        let Some(summary) = &self.summary else { return 0 };
        // A count that is not there is as wrong as can be.
        let own = |name: &str| summary[name].as_u64().unwrap_or(u64::MAX / 8);
        own("dials").abs_diff(self.connections)
            + (own("handshakes_full") + own("handshakes_resumed")).abs_diff(self.connections)
            + own("requests").abs_diff(self.requests)
    }

    /// What went wrong between Posthaste and nsqd.
    pub(crate) fn faults(&self) -> u64 {
        let Some(summary) = &self.summary else { return 0 };
        self.requeued + self.timed_out + summary["fin_failed"].as_u64().unwrap_or(u64::MAX / 8)
    }

    fn line(&self) -> String {
        format!(
            "{}: {:.1} µs CPU ({:.1} of nsqd and nginx), {:.0}/s, {:.1} MiB, {} connections for {} requests, {} requeued, {} timed out",
            self.peer.name(),
            self.cpu_us(),
            self.cpu_us_of_others(),
            self.rate(),
            self.peak_mib(),
            self.connections,
            self.requests,
            self.requeued,
            self.timed_out,
        )
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "peer": self.peer.name(),
            "round": self.round,
            "requests": self.requests,
            "connections": self.connections,
            "wall_s": self.wall.as_secs_f64(),
            "cpu_s": self.cpu.as_secs_f64(),
            "cpu_us_per_message": self.cpu_us(),
            "cpu_us_per_message_of_nsqd_and_nginx": self.cpu_us_of_others(),
            "messages_per_s": self.rate(),
            "peak_rss_bytes": self.peak_rss_bytes,
            "requeued": self.requeued,
            "timed_out": self.timed_out,
            "summary": self.summary,
        })
    }
}
