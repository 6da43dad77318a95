//! The programs that are compared, and how each is started.

use std::process::Command;

use testkit::process::{nsq_program, posthaste_program};

use crate::options::Options;
use crate::stage::Stage;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Peer {
    Posthaste,
    PosthasteLanes,
    GoConsumer,
    NsqToHttp,
    Wrk,
}

/// Bare requests have no end of their own. Long enough for about as many as there are messages.
pub(crate) const WRK_SECONDS: u32 = 5;

/// nsq_to_http opens a connection for nine messages in ten, so that it takes some sixty times as long.
const NSQ_TO_HTTP_SHARE: usize = 5;

impl Peer {
    pub(crate) const ALL: [Peer; 5] =
        [Peer::Posthaste, Peer::GoConsumer, Peer::PosthasteLanes, Peer::NsqToHttp, Peer::Wrk];

    pub(crate) fn named(name: &str) -> Option<Peer> {
        Peer::ALL.into_iter().find(|peer| peer.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Peer::Posthaste => "posthaste",
            Peer::PosthasteLanes => "posthaste-lanes",
            Peer::GoConsumer => "go-consumer",
            Peer::NsqToHttp => "nsq_to_http",
            Peer::Wrk => "wrk",
        }
    }

    /// As the table shows it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Peer::Posthaste => "Posthaste",
            Peer::PosthasteLanes => "Posthaste, `--lanes 4 --threads 2`",
            Peer::GoConsumer => "the Go consumer: one shared client, pool 1024, bodies read",
            Peer::NsqToHttp => "nsq_to_http 1.3.0 at its defaults",
            Peer::Wrk => "wrk, bare requests of the same body: the limit",
        }
    }

    /// How many messages wait for it at nsqd.
    pub(crate) fn messages(self, options: &Options) -> usize {
        match self {
            Peer::Posthaste | Peer::PosthasteLanes | Peer::GoConsumer => options.messages,
            Peer::NsqToHttp => (options.messages / NSQ_TO_HTTP_SHARE).max(1),
            Peer::Wrk => 0,
        }
    }

    /// Whether its own summary, as JSON, comes on standard output.
    pub(crate) fn summarises(self) -> bool {
        matches!(self, Peer::Posthaste | Peer::PosthasteLanes)
    }

    pub(crate) fn command(self, options: &Options, stage: &Stage<'_>) -> Command {
        let concurrency = options.concurrency.to_string();
        match self {
            Peer::Posthaste => posthaste(stage, &concurrency),
            Peer::PosthasteLanes => {
                let mut command = posthaste(stage, &concurrency);
                command.args(["--lanes", "4", "--threads", "2"]);
                command
            }
            Peer::GoConsumer => {
                let mut command = Command::new("target/bench/go-consumer");
                consume(&mut command, stage).args([
                    "--to",
                    &stage.nginx.url("/"),
                    "--concurrency",
                    &concurrency,
                ]);
                command.arg("--ca-file").arg(stage.nginx.ca_file());
                command
            }
            Peer::NsqToHttp => {
                let mut command = Command::new(nsq_program("nsq_to_http"));
                consume(&mut command, stage).args(["--post", &stage.nginx.url("/")]);
                // It has no flag for an authority; Go's TLS takes this variable.
                command.env("SSL_CERT_FILE", stage.nginx.ca_file());
                command
            }
            Peer::Wrk => {
                let mut command = Command::new("wrk");
                command.args(["-t1", &format!("-c{concurrency}"), &format!("-d{WRK_SECONDS}s"), "-s"]);
                command
                    .args(["bench/post.lua", &stage.nginx.url("/")])
                    .env("BODY_BYTES", options.body_bytes.to_string());
                command
            }
        }
    }
}

fn posthaste(stage: &Stage<'_>, concurrency: &str) -> Command {
    let mut command = Command::new(posthaste_program());
    consume(command.arg("run"), stage).args(["--to", &stage.nginx.url("/"), "--concurrency", concurrency]);
    command.arg("--ca-file").arg(stage.nginx.ca_file()).args(["--summary", "json"]);
    command
}

/// The flags that all programs of the NSQ family share.
fn consume<'a>(command: &'a mut Command, stage: &Stage<'_>) -> &'a mut Command {
    let nsqd = stage.nsqd.tcp_address().to_string();
    command.args(["--topic", Stage::NAME, "--channel", Stage::NAME, "--nsqd-tcp-address", &nsqd])
}
