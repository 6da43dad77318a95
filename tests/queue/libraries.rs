//! The libraries that most programs use, go-nsq, pynsq and nsqjs, on `posthaste broker`: each publishes and each consumes, bare
//! and with TLS and compression.
//!
//! pynsq's snappy is left out: it fails now and then on the real nsqd, too, where a read ends in the middle of a chunk.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use testkit::certs::Authority;
use testkit::process::{Nsqd, Process};

const COUNT: usize = 60;
/// node and Python take their time to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A library's producer and consumer (`tools/peers`).
#[derive(Debug, Clone, Copy, PartialEq)]
enum Library {
    Go,
    Python,
    Node,
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace")
}

/// Where `cargo xtask setup` has put them.
pub(crate) fn peers(name: &str) -> PathBuf {
    let dir = std::env::var_os("POSTHASTE_PEERS_DIR").map(PathBuf::from);
    let path = dir.unwrap_or_else(|| workspace().join("target/peers")).join(name);
    assert!(path.exists(), "no {}: run cargo xtask setup", path.display());
    path
}

impl Library {
    fn command(self) -> Command {
        match self {
            Library::Go => Command::new(peers("go/peer")),
            Library::Python => {
                let mut python = Command::new(peers("python/bin/python"));
                python.arg(workspace().join("tools/peers/python/peer.py"));
                python
            }
            Library::Node => {
                let mut node = Command::new("node");
                node.arg(peers("node/peer.js"));
                node
            }
        }
    }

    fn start(self, act: &str, broker: &Nsqd, topic: &str, more: &[&str]) -> Process {
        let mut command = self.command();
        let (address, count) = (broker.tcp_address().to_string(), COUNT.to_string());
        command.args([act, "--address", &address, "--topic", topic, "--prefix", "m", "--count", &count]);
        command.args(["--channel", "peer"]).args(more);
        Process::spawn(&format!("{self:?} {act}"), &mut command)
    }

    /// Publishes with `publish`, consumes with `consume`; every message comes once and is finished.
    fn plays(self, broker: &Nsqd, topic: &str, publish: &[&str], consume: &[&str]) {
        broker.create_channel(topic, "peer");
        let publisher = self.start("publish", broker, topic, publish);
        assert_eq!(publisher.wait(PATIENCE).code, Some(0), "{topic}: {}", publisher.output());
        let stats = broker.channel(topic, "peer");
        assert_eq!(stats.depth, COUNT as u64, "{topic}: {stats:?}");
        let consumer = self.start("consume", broker, topic, consume);
        let stats = broker.wait_channel(topic, "peer", |stats| stats.finished() == COUNT as u64);
        assert_eq!((stats.requeues, stats.timeouts), (0, 0), "{topic}: {stats:?}");
        consumer.kill9();
        let stdout = consumer.stdout();
        let seen: BTreeSet<&str> = stdout.lines().filter(|line| line.starts_with("m-")).collect();
        let expected: BTreeSet<String> = (0..COUNT).map(|serial| format!("m-{serial}")).collect();
        assert_eq!(seen, expected.iter().map(String::as_str).collect(), "{topic}");
    }

    /// Bare and over TLS, without and with compression.
    fn plays_all(self, compressions: &[&str]) {
        let authority = Authority::new();
        let leaf = authority.server();
        let (cert, key) = (leaf.certificate_file().display(), leaf.key_file().display());
        let broker = Nsqd::posthaste(&[&format!("--tls-cert={cert}"), &format!("--tls-key={key}")]);
        let ca_file = authority.ca_file().display().to_string();
        for compression in compressions {
            for (over, tls) in [("bare", vec![]), ("tls", vec!["--ca-file", &ca_file])] {
                let options = [&tls[..], &["--compression", compression]].concat();
                self.plays(&broker, &format!("{over}-{compression}"), &options, &options);
            }
        }
    }
}

#[test]
fn go_nsq_publishes_and_consumes() {
    Library::Go.plays_all(&["none", "snappy", "deflate"]);
}

#[test]
fn pynsq_publishes_and_consumes() {
    Library::Python.plays_all(&["none", "deflate"]);
}

#[test]
fn nsqjs_publishes_and_consumes() {
    Library::Node.plays_all(&["none", "snappy", "deflate"]);
}
