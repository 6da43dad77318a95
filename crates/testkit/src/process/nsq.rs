//! The real nsqd and nsqlookupd, built by `cargo xtask setup`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use serde_json::Value;
use tempfile::TempDir;

use super::daemon::Daemon;
use super::posthaste::posthaste_program;
use crate::gate::PATIENCE;
use crate::http;
use crate::ports::Reserved;

/// The path of a program of NSQ: in `POSTHASTE_NSQ_DIR`, else in `target/nsq` of this repository.
///
/// # Panics
/// When it is not there, with what to do.
#[track_caller]
pub fn nsq_program(name: &str) -> PathBuf {
    let dir = std::env::var_os("POSTHASTE_NSQ_DIR").map(PathBuf::from);
    let path = dir.unwrap_or_else(|| crate::workspace().join("target/nsq")).join(name);
    assert!(path.is_file(), "no {}: run cargo xtask setup", path.display());
    path
}

/// A real nsqd with data of its own, or Posthaste's broker in its place.
#[derive(Debug)]
pub struct Nsqd {
    /// To stop, kill, freeze and restart it.
    pub daemon: Daemon,
    tcp: SocketAddr,
    http: SocketAddr,
    files: TempDir,
    // Holds its ports while it is down.
    _ports: [Reserved; 3],
}

impl Nsqd {
    /// Starts one with these flags besides addresses and data path: `--msg-timeout=2s`, `--mem-queue-size=0`,
    /// `--lookupd-tcp-address=...`, `--tls-cert=...`.
    ///
    /// # Panics
    /// When it is not built or does not start.
    #[track_caller]
    pub fn start(flags: &[&str]) -> Self {
        let mut nsqd = Self::stopped(flags);
        nsqd.daemon.start();
        nsqd
    }

    /// One that has its ports and does not run yet: `nsqd.daemon.start()`.
    ///
    /// # Panics
    /// When it is not built.
    #[track_caller]
    pub fn stopped(flags: &[&str]) -> Self {
        Self::of(nsq_program("nsqd"), &[], files(), flags)
    }

    /// `posthaste broker` in nsqd's place, with flags of nsqd's.
    ///
    /// # Panics
    /// When it is not built or does not start.
    #[track_caller]
    pub fn posthaste(flags: &[&str]) -> Self {
        Self::posthaste_in(files(), flags)
    }

    /// The same with its data in `files`.
    ///
    /// # Panics
    /// When it is not built or does not start.
    #[track_caller]
    pub fn posthaste_in(files: TempDir, flags: &[&str]) -> Self {
        let mut broker = Self::of(posthaste_program(), &["broker"], files, flags);
        broker.daemon.start();
        broker
    }

    fn of(program: PathBuf, first: &[&str], files: TempDir, flags: &[&str]) -> Self {
        let ports = [Reserved::new(), Reserved::new(), Reserved::new()];
        let [tcp, http, https] = [0, 1, 2].map(|port: usize| ports[port].address());
        let mut all: Vec<String> = first.iter().map(|argument| (*argument).to_owned()).collect();
        all.extend([
            format!("--tcp-address={tcp}"),
            format!("--http-address={http}"),
            // Would be 0.0.0.0:4152 with TLS, and two tests would meet there.
            format!("--https-address={https}"),
            format!("--data-path={}", files.path().display()),
            "--broadcast-address=127.0.0.1".into(),
        ]);
        all.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let command = move || {
            let mut command = Command::new(&program);
            command.args(&all);
            command
        };
        let name = if first.is_empty() { "nsqd" } else { "posthaste broker" };
        let daemon = Daemon::new(name, command, move || pings(http));
        Self { daemon, tcp, http, files, _ports: ports }
    }

    /// Where clients connect.
    pub fn tcp_address(&self) -> SocketAddr {
        self.tcp
    }

    /// Its HTTP API.
    pub fn http_address(&self) -> SocketAddr {
        self.http
    }

    /// Where it keeps its data.
    pub fn data_path(&self) -> &Path {
        self.files.path()
    }

    /// Creates the topic, so that publishing to it needs no discovery first.
    ///
    /// # Panics
    /// When nsqd refuses.
    #[track_caller]
    pub fn create_topic(&self, topic: &str) {
        self.post(&format!("/topic/create?topic={topic}"), b"");
    }

    /// Creates topic and channel. Without a channel, what is published goes whole to whoever subscribes first.
    ///
    /// # Panics
    /// When nsqd refuses.
    #[track_caller]
    pub fn create_channel(&self, topic: &str, channel: &str) {
        self.create_topic(topic);
        self.post(&format!("/channel/create?topic={topic}&channel={channel}"), b"");
    }

    /// Publishes one message.
    ///
    /// # Panics
    /// When nsqd refuses.
    #[track_caller]
    pub fn publish(&self, topic: &str, body: &[u8]) {
        self.post(&format!("/pub?topic={topic}"), body);
    }

    /// Publishes many, in batches: some 100,000 a second.
    ///
    /// # Panics
    /// When nsqd refuses.
    #[track_caller]
    pub fn publish_many(&self, topic: &str, bodies: impl IntoIterator<Item = Bytes>) {
        // nsqd takes bodies of up to 5 MiB at its defaults.
        const BATCH_BYTES_MAX: usize = 4 << 20;
        let mut batch = Batch::default();
        for body in bodies {
            if batch.bytes.len() + body.len() > BATCH_BYTES_MAX {
                self.publish_batch(topic, std::mem::take(&mut batch));
            }
            batch.add(&body);
        }
        self.publish_batch(topic, batch);
    }

    #[track_caller]
    fn publish_batch(&self, topic: &str, batch: Batch) {
        if batch.count > 0 {
            let bytes = [&batch.count.to_be_bytes()[..], &batch.bytes].concat();
            self.post(&format!("/mpub?topic={topic}&binary=true"), &bytes);
        }
    }

    /// POSTs to its HTTP API: `/channel/pause?topic=...&channel=...`.
    ///
    /// # Panics
    /// When the answer is not 200.
    #[track_caller]
    pub fn post(&self, target: &str, body: &[u8]) -> Vec<u8> {
        http::expect_ok(self.http, "POST", target, body)
    }

    /// Asks its HTTP API for anything, and takes any answer: status and body.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn status(&self, method: &str, target: &str, body: &[u8]) -> (u16, String) {
        match http::request(self.http, method, target, body) {
            Ok((status, answer)) => (status, String::from_utf8_lossy(&answer).into_owned()),
            Err(error) => panic!("{method} {target} at {}: {error}", self.http),
        }
    }

    /// `/stats`, with clients.
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    pub fn stats(&self) -> Value {
        let stats = http::expect_ok(self.http, "GET", "/stats?format=json&include_mem=false", b"");
        serde_json::from_slice(&stats).expect("nsqd's stats are JSON")
    }

    /// The stats of one channel; all zero while it does not exist.
    ///
    /// # Panics
    /// When nsqd does not answer.
    #[track_caller]
    pub fn channel(&self, topic: &str, channel: &str) -> ChannelStats {
        let target = format!("/stats?format=json&include_mem=false&topic={topic}&channel={channel}");
        let stats: Value = serde_json::from_slice(&http::expect_ok(self.http, "GET", &target, b""))
            .expect("nsqd's stats are JSON");
        ChannelStats::of(&stats["topics"][0]["channels"][0])
    }

    /// Waits until the channel's stats satisfy `enough`, twice in a row: nsqd counts what waits, what is in flight and what is
    /// deferred one after the other, so that what moves from one to another meanwhile is in none of them, and seems finished.
    ///
    /// # Panics
    /// When they do not within 60 s, with the stats.
    #[track_caller]
    pub fn wait_channel(
        &self,
        topic: &str,
        channel: &str,
        enough: impl Fn(&ChannelStats) -> bool,
    ) -> ChannelStats {
        const LIMIT: Duration = Duration::from_secs(60);
        let begun = Instant::now();
        let mut was_enough = false;
        loop {
            let stats = self.channel(topic, channel);
            let is_enough = enough(&stats);
            if is_enough && was_enough {
                return stats;
            }
            was_enough = is_enough;
            assert!(begun.elapsed() < LIMIT, "not reached within {LIMIT:?}: {stats:#?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[derive(Default)]
struct Batch {
    count: u32,
    bytes: BytesMut,
}

impl Batch {
    fn add(&mut self, body: &[u8]) {
        self.count += 1;
        self.bytes.put_u32(u32::try_from(body.len()).expect("a body under 4 GiB"));
        self.bytes.put_slice(body);
    }
}

/// One channel as nsqd sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChannelStats {
    /// Messages waiting, in memory and on disk.
    pub depth: u64,
    /// Messages sent and not answered.
    pub in_flight: u64,
    /// Messages waiting for their delay.
    pub deferred: u64,
    /// Messages put into the channel since nsqd started.
    pub messages: u64,
    /// REQ commands.
    pub requeues: u64,
    /// Messages whose time was up.
    pub timeouts: u64,
    /// The subscribed clients, as nsqd describes them.
    pub clients: Vec<Value>,
}

impl ChannelStats {
    fn of(stats: &Value) -> Self {
        let number = |name: &str| stats[name].as_u64().unwrap_or(0);
        Self {
            depth: number("depth"),
            in_flight: number("in_flight_count"),
            deferred: number("deferred_count"),
            messages: number("message_count"),
            requeues: number("requeue_count"),
            timeouts: number("timeout_count"),
            clients: stats["clients"].as_array().cloned().unwrap_or_default(),
        }
    }

    /// Messages that were finished since nsqd started: those that came and are nowhere any more.
    pub fn finished(&self) -> u64 {
        self.messages.saturating_sub(self.depth + self.in_flight + self.deferred)
    }

    /// The RDY of all clients together.
    pub fn rdy_sum(&self) -> u64 {
        self.clients.iter().filter_map(|client| client["ready_count"].as_u64()).sum()
    }
}

/// A real nsqlookupd.
#[derive(Debug)]
pub struct Nsqlookupd {
    /// To stop, kill, freeze and restart it.
    pub daemon: Daemon,
    tcp: SocketAddr,
    http: SocketAddr,
    // Holds its ports while it is down.
    _ports: [Reserved; 2],
}

impl Nsqlookupd {
    /// Starts one with these flags besides its addresses.
    ///
    /// # Panics
    /// When it is not built or does not start.
    #[track_caller]
    pub fn start(flags: &[&str]) -> Self {
        let mut nsqlookupd = Self::stopped(flags);
        nsqlookupd.daemon.start();
        nsqlookupd
    }

    /// One that has its ports and does not run yet: `nsqlookupd.daemon.start()`.
    ///
    /// # Panics
    /// When it is not built.
    #[track_caller]
    pub fn stopped(flags: &[&str]) -> Self {
        let program = nsq_program("nsqlookupd");
        let ports = [Reserved::new(), Reserved::new()];
        let [tcp, http] = [0, 1].map(|port: usize| ports[port].address());
        let mut all = vec![
            format!("--tcp-address={tcp}"),
            format!("--http-address={http}"),
            "--broadcast-address=127.0.0.1".into(),
        ];
        all.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let command = move || {
            let mut command = Command::new(&program);
            command.args(&all);
            command
        };
        let daemon = Daemon::new("nsqlookupd", command, move || pings(http));
        Self { daemon, tcp, http, _ports: ports }
    }

    /// Where nsqds register: `--lookupd-tcp-address`.
    pub fn tcp_address(&self) -> SocketAddr {
        self.tcp
    }

    /// Where consumers ask: `--lookupd-http-address`.
    pub fn http_address(&self) -> SocketAddr {
        self.http
    }

    /// How many producers it lists for the topic.
    pub fn producers(&self, topic: &str) -> usize {
        let Ok((200, answer)) = http::request(self.http, "GET", &format!("/lookup?topic={topic}"), b"")
        else {
            return 0;
        };
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        answer["producers"].as_array().map_or(0, Vec::len)
    }

    /// Waits until it lists so many.
    ///
    /// # Panics
    /// When it does not within 20 s.
    #[track_caller]
    pub fn wait_producers(&self, topic: &str, count: usize) {
        let begun = Instant::now();
        while self.producers(topic) != count {
            assert!(
                begun.elapsed() < PATIENCE,
                "{} producers of {topic}, not {count}",
                self.producers(topic)
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn files() -> TempDir {
    tempfile::Builder::new().prefix("posthaste-nsqd-").tempdir().expect("a temporary directory")
}

fn pings(http: SocketAddr) -> bool {
    matches!(http::request(http, "GET", "/ping", b""), Ok((200, _)))
}
