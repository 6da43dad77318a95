//! `/stats` and `/info` of both, after the same was done to both.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use testkit::process::Nsqd;

use crate::nsq::NsqClient;
use crate::raw::{do_post, get};
use crate::served::{Served, settings};

/// What can never be the same: times, ports, memory, and which program it is.
const OWN: [&str; 14] = [
    "start_time",
    "connect_ts",
    "remote_address",
    "tcp_port",
    "http_port",
    "heap_objects",
    "heap_idle_bytes",
    "heap_in_use_bytes",
    "heap_released_bytes",
    "gc_pause_usec_100",
    "gc_pause_usec_99",
    "gc_pause_usec_95",
    "next_gc_bytes",
    "gc_total_runs",
];

/// `text` with the values of those fields left out.
fn blanked(text: &str) -> String {
    let mut rest = text;
    let mut blanked = String::new();
    while let Some((key, at)) = OWN
        .iter()
        .filter_map(|key| rest.find(&format!("\"{key}\":")).map(|at| (key, at)))
        .min_by_key(|found| found.1)
    {
        let value = at + key.len() + 3;
        blanked += &rest[..value];
        rest = &rest[value..];
        let quoted = rest.starts_with('"');
        let end = if quoted { rest[1..].find('"').unwrap() + 2 } else { rest.find([',', '}']).unwrap() };
        rest = &rest[end..];
    }
    blanked + rest
}

/// The text form without its first lines, memory, ports and durations.
fn blanked_text(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let own = ["nsqd v", "start_time", "uptime", "   heap_", "   gc_", "   next_gc"];
        if own.iter().any(|own| line.starts_with(own)) {
            continue;
        }
        let line = match line.find(" connected: ") {
            Some(at) => &line[..at],
            None => line,
        };
        let agent = line.find(" hand").filter(|_| line.contains(".host:"));
        lines.push(match (line.find(".host:"), agent) {
            (Some(port), Some(agent)) => format!("{}{}", &line[..port], &line[agent..]),
            _ => line.to_owned(),
        });
    }
    lines.join("\n")
}

/// `text` without what is on disk, in either form.
fn without_disk(text: &str) -> String {
    let mut without = String::new();
    for (i, part) in text.split("\"backend_depth\":").enumerate() {
        without += if i == 0 { part } else { part.trim_start_matches(|c: char| c.is_ascii_digit()) };
    }
    let fields = without.split("be-depth: ").enumerate().map(|(i, part)| match i {
        0 => part,
        _ => part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' '),
    });
    fields.collect()
}

/// The two, and the same done to both.
struct Both {
    nsqd: Nsqd,
    broker: Served,
    /// Whether nsqd has everything on disk, as the broker has.
    on_disk: bool,
}

impl Both {
    fn start() -> Self {
        let nsqd = Nsqd::start(&["--mem-queue-size=0"]);
        Self { nsqd, broker: Served::start(settings()), on_disk: true }
    }

    /// With everything in nsqd's memory: what it has on its disk has no delay any more. What is on disk is not compared then.
    fn start_in_memory() -> Self {
        Self { nsqd: Nsqd::start(&[]), broker: Served::start(settings()), on_disk: false }
    }

    fn post(&self, target: &str, body: &[u8]) {
        for address in self.http() {
            do_post(address, target, body);
        }
    }

    fn http(&self) -> [SocketAddr; 2] {
        [self.broker.http(), self.nsqd.http_address()]
    }

    fn clients(&self, name: &str) -> [NsqClient; 2] {
        [self.broker.tcp(), self.nsqd.tcp_address()].map(|address| NsqClient::connect(address, name))
    }

    /// Waits until both say the same: nsqd counts a little after it has answered.
    #[track_caller]
    fn same(&self, target: &str, blank: impl Fn(&str) -> String) {
        let begun = Instant::now();
        loop {
            let [ours, theirs] = self.http().map(|address| {
                let text = blank(&get(address, target).body);
                if self.on_disk { text } else { without_disk(&text) }
            });
            if ours == theirs {
                return;
            }
            if begun.elapsed() > Duration::from_secs(10) {
                assert_eq!(ours, theirs, "{target}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[track_caller]
    fn same_stats(&self) {
        for query in [
            "",
            "&topic=t",
            "&topic=t&channel=c",
            "&topic=t&channel=absent",
            "&topic=absent",
            "&topic=absent&channel=c",
            "&channel=c",
            "&include_clients=false",
            "&include_clients=0&include_mem=0",
            "&include_mem=false",
            "&include_clients=maybe",
            "&topic=a%20b",
        ] {
            self.same(&format!("/stats?format=json{query}"), blanked);
            self.same(&format!("/stats?format=text{query}"), blanked_text);
        }
        self.same("/stats", blanked_text);
    }
}

#[test]
fn an_empty_one() {
    let both = Both::start();
    both.same_stats();
    both.same("/info", blanked);
    both.same("/stats?%zz", str::to_owned);
}

#[test]
fn topics_and_channels_with_messages() {
    let both = Both::start();
    both.post("/pub?topic=t", b"before any channel");
    both.same_stats();
    both.post("/channel/create?topic=t&channel=c", b"");
    both.same_stats();
    both.post("/channel/create?topic=t&channel=d", b"");
    both.post("/mpub?topic=t", b"one\ntwo\nthree");
    both.same_stats();
    both.post("/channel/pause?topic=t&channel=c", b"");
    both.post("/topic/pause?topic=t", b"");
    both.post("/pub?topic=t", b"while the topic is paused");
    both.same_stats();
    both.post("/channel/create?topic=t&channel=e", b"");
    both.same_stats();
    both.post("/topic/unpause?topic=t", b"");
    both.post("/channel/empty?topic=t&channel=d", b"");
    both.same_stats();
    both.post("/topic/empty?topic=t", b"");
    both.post("/channel/delete?topic=t&channel=c", b"");
    both.same_stats();
    both.post("/topic/delete?topic=t", b"");
    both.same_stats();
}

#[test]
fn deferred_messages() {
    let both = Both::start_in_memory();
    both.post("/pub?topic=t&defer=60000", b"before any channel");
    both.same_stats();
    both.post("/channel/create?topic=t&channel=c", b"");
    both.post("/pub?topic=t&defer=60000", b"one");
    both.post("/pub?topic=t&defer=1", b"soon");
    both.same_stats();
    both.post("/channel/empty?topic=t&channel=c", b"");
    both.same_stats();
}

#[test]
fn consumers_and_producers() {
    let both = Both::start_in_memory();
    both.post("/topic/create?topic=t", b"");
    both.post("/channel/create?topic=t&channel=c", b"");
    let mut producers = both.clients("producer");
    for producer in &mut producers {
        for body in [&b"one"[..], b"two", b"three"] {
            producer.publish("t", body);
        }
    }
    both.same_stats();
    let mut consumers = both.clients("consumer");
    for consumer in &mut consumers {
        consumer.subscribe("t", "c");
    }
    both.same_stats();
    for consumer in &mut consumers {
        consumer.send(b"RDY 3\n");
        let messages: Vec<_> = (0..3).map(|_| consumer.message()).collect();
        assert_eq!(messages.iter().map(|message| message.attempts).collect::<Vec<_>>(), [1; 3]);
        consumer.finish(&messages[0]);
        consumer.send(&[b"REQ ", &messages[1].id[..], b" 60000\n"].concat());
    }
    both.same_stats();
    for consumer in &mut consumers {
        consumer.send(b"CLS\n");
    }
    both.same_stats();
}

#[test]
fn ephemeral_ones_go_with_their_last_client() {
    let both = Both::start();
    let mut consumers = both.clients("consumer");
    for consumer in &mut consumers {
        consumer.subscribe("t#ephemeral", "c#ephemeral");
    }
    both.same("/stats?format=json&include_mem=false", blanked);
    drop(consumers);
    both.same("/stats?format=json&include_mem=false", blanked);
    assert!(get(both.broker.http(), "/stats?format=json").body.contains(r#""topics":[]"#));
}
