//! What the demo has to show: figures of both sides, whether they add up, and what to type next.

use std::fmt::Write;
use std::time::Duration;

use pipeline::RouteSnapshot;
use serde::Serialize;

use super::endpoint::Counts;
use crate::figures::{bytes, count, counted, time};

/// What was published.
#[derive(Debug, Clone, Copy)]
pub(super) struct Published {
    pub(super) events: u64,
    /// Of them, those whose OK came.
    pub(super) acknowledged: u64,
    pub(super) bytes: u64,
    pub(super) digest: u64,
    pub(super) wall: Duration,
}

/// A way of sending, as the endpoint counted it.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Way {
    messages: u64,
    requests: u64,
    connections: u64,
    handshakes_full: u64,
    handshakes_resumed: u64,
    requests_per_connection: f64,
    wall_s: f64,
    messages_per_second: f64,
    /// CPU of one message: of everything but the endpoint, and of the endpoint.
    sender_cpu_us: f64,
    endpoint_cpu_us: f64,
    #[serde(skip)]
    counts: Counts,
}

/// What a line of the table is about, and its figure.
type Row<T> = (&'static str, fn(&Way) -> T);

impl Way {
    pub(super) fn new(messages: u64, counts: &Counts, wall: Duration, sender_cpu: Duration) -> Way {
        let each = |total: f64| if messages == 0 { 0.0 } else { total / messages as f64 };
        let connections = counts.connections();
        let wall_s = wall.as_secs_f64();
        Way {
            messages,
            requests: counts.requests,
            connections,
            handshakes_full: counts.handshakes_full,
            handshakes_resumed: counts.handshakes_resumed,
            requests_per_connection: counts.requests as f64 / connections.max(1) as f64,
            wall_s,
            messages_per_second: if wall_s > 0.0 { messages as f64 / wall_s } else { 0.0 },
            sender_cpu_us: each(sender_cpu.as_secs_f64() * 1e6),
            endpoint_cpu_us: each(counts.cpu.as_secs_f64() * 1e6),
            counts: *counts,
        }
    }
}

/// Everything.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Whether a sender that trusts another authority was turned away.
    stranger_refused: bool,
    events: u64,
    event_bytes: u64,
    acknowledged: u64,
    publish_wall_s: f64,
    /// Messages that arrived at the endpoint, each counted once, and requests for one that had arrived before.
    arrived: u64,
    arrived_again: u64,
    /// Whether the bodies that arrived are those that were published, by a sum over them.
    bodies_equal: bool,
    /// What the sender counted.
    received: u64,
    finished: u64,
    requeued: u64,
    expired: u64,
    connection_lost: u64,
    sender_requests: u64,
    sender_connections: u64,
    sender_handshakes_full: u64,
    sender_handshakes_resumed: u64,
    permits: u64,
    posthaste: Way,
    naive: Way,
}

impl Report {
    pub(super) fn new(
        stranger_refused: bool,
        published: Published,
        posthaste: Way,
        sender: &RouteSnapshot,
        naive: Way,
        permits: usize,
    ) -> Report {
        let (ledger, endpoint) = (&sender.ledger, &sender.endpoint);
        Report {
            stranger_refused,
            events: published.events,
            event_bytes: published.bytes,
            acknowledged: published.acknowledged,
            publish_wall_s: published.wall.as_secs_f64(),
            arrived: posthaste.counts.distinct,
            arrived_again: posthaste.counts.repeated,
            bodies_equal: posthaste.counts.digest == published.digest,
            received: ledger.received,
            finished: ledger.finished,
            requeued: ledger.requeued,
            expired: ledger.expired,
            connection_lost: ledger.connection_lost,
            sender_requests: endpoint.requests,
            sender_connections: endpoint.opened,
            sender_handshakes_full: endpoint.handshakes_full,
            sender_handshakes_resumed: endpoint.handshakes_resumed,
            permits: permits as u64,
            posthaste,
            naive,
        }
    }

    /// What does not add up; nothing does not, as a rule.
    pub(super) fn contradictions(&self) -> Vec<String> {
        let accounted = self.finished + self.requeued + self.expired + self.connection_lost;
        let equal = [
            ("events published and acknowledged", self.events, self.acknowledged),
            ("events published and messages arrived", self.events, self.arrived),
            ("messages received and accounted for", self.received, accounted),
            ("messages arrived and finished", self.arrived, self.finished),
            ("requests of sender and endpoint", self.sender_requests, self.posthaste.requests),
            (
                "requests and messages with those that came again",
                self.posthaste.requests,
                self.arrived + self.arrived_again,
            ),
            ("connections of sender and endpoint", self.sender_connections, self.posthaste.connections),
            (
                "full handshakes of sender and endpoint",
                self.sender_handshakes_full,
                self.posthaste.handshakes_full,
            ),
            (
                "resumed handshakes of sender and endpoint",
                self.sender_handshakes_resumed,
                self.posthaste.handshakes_resumed,
            ),
            ("naive messages and requests", self.naive.messages, self.naive.requests),
            ("naive messages and connections", self.naive.messages, self.naive.connections),
        ];
        let mut wrong: Vec<_> = equal
            .iter()
            .filter(|(_, one, other)| one != other)
            .map(|(what, one, other)| format!("{what}: {one} and {other}"))
            .collect();
        if !self.bodies_equal {
            wrong.push("the bodies that arrived are not those that were published".to_owned());
        }
        if !self.stranger_refused {
            wrong.push("a sender that trusts another authority was not turned away".to_owned());
        }
        wrong
    }

    /// One object, with its line's end.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers are always JSON") + "\n"
    }

    /// For reading.
    pub(super) fn human(&self, program: &str) -> String {
        let mut text = String::from("\n");
        self.facts(&mut text);
        text.push('\n');
        self.side_by_side(&mut text);
        next(&mut text, program);
        text
    }

    fn facts(&self, text: &mut String) {
        let published = format!(
            "{}, {}, in {}: each OK means stored on disk",
            counted(self.events, "event"),
            bytes(self.event_bytes),
            seconds(self.publish_wall_s)
        );
        let again = match self.arrived_again {
            0 => "none twice".to_owned(),
            again => format!("{} twice", count(again)),
        };
        let whole = if self.bodies_equal { "every byte as published" } else { "NOT as published" };
        let delivered = format!("{} of {}, {again}, {whole}", count(self.arrived), count(self.events));
        let tls = match self.stranger_refused {
            true => "verified: a sender that trusts another authority was turned away",
            false => "NOT verified",
        };
        for (about, says) in
            [("published", published.as_str()), ("delivered", &delivered), ("certificate", tls)]
        {
            writeln!(text, "  {about:<12} {says}").expect("a string takes everything");
        }
    }

    fn side_by_side(&self, text: &mut String) {
        let (ours, naive) = (&self.posthaste, &self.naive);
        let mut row = |about: &str, ours: String, naive: String| {
            writeln!(text, "  {about:<34}{ours:>13}{naive:>20}").expect("a string takes everything");
        };
        row("", "Posthaste".into(), "a connection each".into());
        let counts: [Row<u64>; 4] = [
            ("messages delivered", |way| way.messages),
            ("connections", |way| way.connections),
            ("full TLS handshakes", |way| way.handshakes_full),
            ("resumed TLS handshakes", |way| way.handshakes_resumed),
        ];
        for (about, figure) in counts {
            row(about, count(figure(ours)), count(figure(naive)));
        }
        let per_connection = |way: &Way| count(way.requests_per_connection.round() as u64);
        row("requests per connection", per_connection(ours), per_connection(naive));
        let rate = |way: &Way| count(way.messages_per_second.round() as u64);
        row("messages a second", rate(ours), rate(naive));
        let times: [Row<f64>; 3] = [
            ("time per message", |way| way.wall_s * 1e6 / way.messages.max(1) as f64),
            ("CPU per message, sender and queue", |way| way.sender_cpu_us),
            ("CPU per message, endpoint", |way| way.endpoint_cpu_us),
        ];
        for (about, figure) in times {
            row(about, micros(figure(ours)), micros(figure(naive)));
        }
        let million = |way: &Way| match way.messages_per_second {
            rate if rate > 0.0 => seconds(1e6 / rate),
            _ => "for ever".to_owned(),
        };
        row("a million messages would take", million(ours), million(naive));
    }
}

fn next(text: &mut String, program: &str) {
    write!(
        text,
        "\n  Each with as many requests at once, sender and endpoint on this machine. The naive way has no queue.\n\n\
         Next, your own endpoint behind the same queue, on 127.0.0.1:4150 (TCP) and 127.0.0.1:4151 (HTTP):\n\n\
         \x20 {program} run --topic events --to https://api.example.com/v2/events\n\
         \x20 curl -d '{{\"hello\":\"world\"}}' 'http://127.0.0.1:4151/pub?topic=events'\n\n\
         or behind the NSQ cluster that you have:\n\n\
         \x20 {program} run --topic events --lookupd-http-address 10.0.0.5:4161 --to https://api.example.com/v2/events\n"
    )
    .expect("a string takes everything");
}

fn seconds(seconds: f64) -> String {
    time(Duration::from_secs_f64(seconds))
}

fn micros(micros: f64) -> String {
    match micros {
        ..1_000.0 => format!("{micros:.1} us"),
        micros => time(Duration::from_micros(micros as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let ours = Counts {
            handshakes_full: 16,
            handshakes_resumed: 48,
            requests: 100_000,
            distinct: 100_000,
            digest: 7,
            cpu: Duration::from_secs(1),
            ..Counts::default()
        };
        let naive = Counts {
            handshakes_full: 2_000,
            requests: 2_000,
            cpu: Duration::from_secs(2),
            ..Counts::default()
        };
        let published = Published {
            events: 100_000,
            acknowledged: 100_000,
            bytes: 30_000_000,
            digest: 7,
            wall: Duration::from_secs(1),
        };
        let mut sender = RouteSnapshot::default();
        (sender.ledger.received, sender.ledger.finished) = (100_000, 100_000);
        (sender.endpoint.requests, sender.endpoint.opened) = (100_000, 64);
        (sender.endpoint.handshakes_full, sender.endpoint.handshakes_resumed) = (16, 48);
        let second = Duration::from_secs(1);
        let ours = Way::new(100_000, &ours, 2 * second, 2 * second);
        Report::new(true, published, ours, &sender, Way::new(2_000, &naive, 2 * second, 4 * second), 64)
    }

    #[test]
    fn the_proof_stands_side_by_side() {
        let text = report().human("posthaste");
        for line in [
            "  delivered    100,000 of 100,000, none twice, every byte as published\n",
            "  connections                                  64               2,000\n",
            "  requests per connection                   1,563                   1\n",
            "  time per message                        20.0 us              1.0 ms\n",
            "  CPU per message, sender and queue       20.0 us              2.0 ms\n",
            "  a million messages would take           20.00 s         16 min 40 s\n",
            "posthaste run --topic events --to https://",
        ] {
            assert!(text.contains(line), "{line:?} is missing in\n{text}");
        }
        assert_eq!(report().contradictions(), [""; 0]);
    }

    #[test]
    fn whatever_does_not_add_up_is_named() {
        let changes: [fn(&mut Report); 7] = [
            |report| report.acknowledged -= 1,
            |report| report.arrived -= 1,
            |report| report.requeued += 1,
            |report| report.sender_connections += 1,
            |report| report.naive.connections -= 1,
            |report| report.bodies_equal = false,
            |report| report.stranger_refused = false,
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut report = report();
            change(&mut report);
            assert!(!report.contradictions().is_empty(), "change {number}");
        }
    }
}
