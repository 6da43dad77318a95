//! What was done, told at the end: where every message went, what the connections cost, how long a POST took.

mod human;

use std::collections::BTreeMap;
use std::time::Duration;

use pipeline::delivery::CloseReason;
use pipeline::{Quantiles, RouteSnapshot, Snapshot};
use serde::Serialize;

use crate::usage::Usage;

/// How the summary is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SummaryForm {
    /// For reading, to standard error.
    Human,
    /// One object, to standard output.
    Json,
    /// Not at all.
    None,
}

/// The whole process.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    #[serde(flatten)]
    total: RouteFigures,
    /// Seconds from the start of delivery to its end, the start and the stop of an embedded queue included.
    wall_s: f64,
    /// Seconds of CPU time, the kernel's for this process included.
    cpu_s: f64,
    /// The most memory that was resident at once; absent where the system does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_peak_bytes: Option<u64>,
    routes: Vec<RouteFigures>,
}

/// One route, or all of them together.
#[derive(Debug, Default, Serialize)]
pub(crate) struct RouteFigures {
    route: String,
    received: u64,
    delivered: u64,
    failed: u64,
    finished: u64,
    requeued: u64,
    expired: u64,
    connection_lost: u64,
    delivered_unfinished: u64,
    /// Still held at the end.
    left: u64,
    requests: u64,
    dials: u64,
    dial_failures: u64,
    connections: u64,
    handshakes_full: u64,
    handshakes_resumed: u64,
    handshake_failures: u64,
    handshake_wall_us: u64,
    handshake_cpu_us: u64,
    lookups: u64,
    lookup_failures: u64,
    unsent_resends: u64,
    stale_resends: u64,
    emfile_waits: u64,
    bytes_sent: u64,
    bytes_received: u64,
    requests_per_connection: PerConnection,
    /// Connections closed, by reason; those that never occurred are left out.
    closes: BTreeMap<&'static str, u64>,
    latency_us: LatencyMicros,
    permits: u64,
    permits_busy_mean: f64,
    nsq_connects: u64,
    nsq_connect_failures: u64,
    nsq_disconnects: u64,
    fin_failed: u64,
    req_failed: u64,
    touch_failed: u64,
    touched: u64,
    adopted: u64,
    oversized: u64,
    finishes_unsent: u64,
    nsqlookupd_failures: u64,
}

/// Over the connections that are closed, which at the end is all of them.
#[derive(Debug, Default, Serialize)]
struct PerConnection {
    min: u64,
    mean: f64,
    max: u64,
}

#[derive(Debug, Default, Serialize)]
struct LatencyMicros {
    p50: u64,
    p90: u64,
    p99: u64,
    max: u64,
}

impl LatencyMicros {
    fn of(quantiles: Quantiles) -> LatencyMicros {
        let micros = |quantile: Duration| u64::try_from(quantile.as_micros()).unwrap_or(u64::MAX);
        let Quantiles { count: _, p50, p90, p99, max } = quantiles;
        LatencyMicros { p50: micros(p50), p90: micros(p90), p99: micros(p99), max: micros(max) }
    }
}

impl RouteFigures {
    fn of(snapshot: &RouteSnapshot) -> RouteFigures {
        let RouteSnapshot { name, ledger, consumer, endpoint, .. } = snapshot;
        let carried = &endpoint.requests_per_connection;
        let (min, max) = carried.min_max().unwrap_or_default();
        let reasons = CloseReason::ALL.iter().map(|reason| (reason.name(), endpoint.closed(*reason)));
        RouteFigures {
            route: name.clone(),
            received: ledger.received,
            delivered: ledger.delivered,
            failed: ledger.failed,
            finished: ledger.finished,
            requeued: ledger.requeued,
            expired: ledger.expired,
            connection_lost: ledger.connection_lost,
            delivered_unfinished: ledger.delivered_unfinished,
            left: ledger.in_flight,
            requests: endpoint.requests,
            dials: endpoint.dials,
            dial_failures: endpoint.dial_failures,
            connections: endpoint.opened,
            handshakes_full: endpoint.handshakes_full,
            handshakes_resumed: endpoint.handshakes_resumed,
            handshake_failures: endpoint.handshake_failures,
            handshake_wall_us: endpoint.handshake_wall_us,
            handshake_cpu_us: endpoint.handshake_cpu_us,
            lookups: endpoint.lookups,
            lookup_failures: endpoint.lookup_failures,
            unsent_resends: endpoint.unsent_resends,
            stale_resends: endpoint.stale_resends,
            emfile_waits: endpoint.emfile_waits,
            bytes_sent: endpoint.bytes_sent,
            bytes_received: endpoint.bytes_received,
            requests_per_connection: PerConnection { min, mean: mean(carried.sum, carried.count()), max },
            closes: reasons.filter(|(_, closes)| *closes > 0).collect(),
            latency_us: LatencyMicros::of(snapshot.latency()),
            permits: snapshot.permits,
            permits_busy_mean: snapshot.permits_busy_mean,
            nsq_connects: consumer.connects,
            nsq_connect_failures: consumer.connect_failures,
            nsq_disconnects: consumer.disconnects,
            fin_failed: consumer.fin_failed,
            req_failed: consumer.req_failed,
            touch_failed: consumer.touch_failed,
            touched: consumer.touched,
            adopted: consumer.adopted,
            oversized: consumer.oversized,
            finishes_unsent: consumer.finishes_unsent,
            nsqlookupd_failures: consumer.lookup_failures,
        }
    }
}

fn mean(sum: u64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { sum as f64 / count as f64 }
}

impl Summary {
    pub(crate) fn of(snapshot: &Snapshot, usage: Usage) -> Summary {
        Summary {
            total: RouteFigures::of(&snapshot.total()),
            wall_s: usage.wall.as_secs_f64(),
            cpu_s: usage.cpu.as_secs_f64(),
            memory_peak_bytes: usage.memory_peak_bytes,
            routes: snapshot.routes.iter().map(RouteFigures::of).collect(),
        }
    }

    /// One line of JSON, with its end.
    pub(crate) fn json(&self) -> String {
        let line = serde_json::to_string(self).expect("numbers and names are always JSON");
        line + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        let mut route = RouteSnapshot::default();
        route.name = "events/posthaste".into();
        route.permits = 100;
        route.ledger.received = 100_003;
        route.ledger.delivered = 100_000;
        route.ledger.finished = 100_000;
        route.ledger.requeued = 3;
        route.ledger.failed = 3;
        route.endpoint.opened = 100;
        route.endpoint.requests = 100_003;
        route.endpoint.handshakes_full = 100;
        route.permits_busy_mean = 98.25;
        Snapshot { routes: vec![route] }
    }

    fn usage() -> Usage {
        let wall = Duration::from_millis(1_712);
        Usage { wall, cpu: Duration::from_secs(1), memory_peak_bytes: Some(10 << 20) }
    }

    #[test]
    fn json_has_every_field_that_was_promised() {
        let line = Summary::of(&snapshot(), usage()).json();
        let summary: serde_json::Value = serde_json::from_str(&line).expect("it is JSON");
        let promised = "received delivered finished requeued expired connection_lost delivered_unfinished left dials \
                        handshakes_full handshakes_resumed requests fin_failed permits_busy_mean wall_s cpu_s";
        for field in promised.split_whitespace() {
            assert!(summary[field].is_number(), "{field} in {line}");
        }
        assert_eq!(summary["received"], 100_003);
        assert_eq!(summary["routes"][0]["route"], "events/posthaste");
    }

    #[test]
    fn the_ledger_adds_up_in_one_line_and_troubles_are_told() {
        let text = Summary::of(&snapshot(), usage()).human();
        assert!(
            text.contains("delivered    100,000 messages in 1.71 s of running, 58,411 a second on average\n"),
            "{text}"
        );
        assert!(text.contains("100,003 received = 100,000 finished + 3 requeued\n"), "{text}");
        assert!(text.contains("100 for 100,003 requests"), "{text}");
        assert!(text.contains("10.0 us a message; 10 MiB of memory"), "{text}");
        assert!(text.contains("note         3 requests failed"), "{text}");
        assert!(!text.contains("E_TOUCH_FAILED"), "{text}");
    }
}
