//! Medians, the table, and what was aimed at.

use serde_json::{Value, json};

use crate::machine;
use crate::options::Options;
use crate::peer::{Peer, WRK_SECONDS};
use crate::round::Run;

pub(crate) struct Report<'a> {
    options: &'a Options,
    runs: Vec<Run>,
    rows: Vec<Row>,
    machine: Vec<(&'static str, String)>,
}

/// The medians of a peer's runs.
struct Row {
    peer: Peer,
    cpu_us: f64,
    cpu_us_of_others: f64,
    rate: f64,
    peak_mib: f64,
    connections: f64,
}

impl<'a> Report<'a> {
    pub(crate) fn new(options: &'a Options, runs: Vec<Run>) -> Report<'a> {
        let rows = options.peers.iter().map(|&peer| Row::of(peer, &runs)).collect();
        Report { options, runs, rows, machine: machine::facts() }
    }

    pub(crate) fn table(&self) -> String {
        let mut table = String::from(
            "| | CPU µs per message | of nsqd and nginx | messages/s | peak MiB | connections |\n|---|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            table += &format!(
                "| {} | {:.1} | {:.1} | {:.0} | {:.1} | {:.0} |\n",
                row.peer.title(),
                row.cpu_us,
                row.cpu_us_of_others,
                row.rate,
                row.peak_mib,
                row.connections
            );
        }
        let aims = self.aims();
        if !aims.is_empty() {
            table += "\n| Posthaste | measured | aim | |\n|---|---|---|---|\n";
        }
        for aim in aims {
            let met = if aim.met { "met" } else { "**missed**" };
            table += &format!("| {} | {} | {} | {met} |\n", aim.what, aim.measured, aim.bound);
        }
        table
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "messages": self.options.messages,
            "body_bytes": self.options.body_bytes,
            "concurrency": self.options.concurrency,
            "machine": self.machine.iter().map(|(what, fact)| (what.to_string(), json!(fact))).collect::<serde_json::Map<_, _>>(),
            "runs": self.runs.iter().map(Run::json).collect::<Vec<_>>(),
        })
    }

    /// BENCH.md.
    pub(crate) fn page(&self) -> String {
        let Options { messages, body_bytes, concurrency, rounds, .. } = self.options;
        let facts: String = self.machine.iter().map(|(what, fact)| format!("- {what}: {fact}\n")).collect();
        format!(
            "# Compared

`cargo xtask bench --write` makes this page. Each peer takes {messages} messages of {body_bytes} bytes (nsq_to_http a fifth of them) that wait in
nsqd's memory, and POSTs them with {concurrency} requests at once (nsq_to_http as it comes) over TLS to nginx, which answers 200 and lets a connection live
for 1,000,000 requests or an hour. Queue, peer and nginx share the machine. Every round runs each peer once, one after the other;
shown are the medians of {rounds} rounds.

CPU is the user and system time of the peer's process from its start to its end, in ticks of 10 ms, per request that nginx has served; connections are those that
nginx has accepted; peak memory is the kernel's high-water mark. wrk sends for {WRK_SECONDS} s without a queue: nothing that speaks TLS through the same
kernel costs much less. Seconds on a shared machine differ from run to run; compare CPU.

{}
## Where
{facts}
## What was run
```
{}
```
",
            self.table(),
            self.commands()
        )
    }

    fn commands(&self) -> String {
        let consume = "--topic bench --channel bench --nsqd-tcp-address NSQD";
        let concurrency = self.options.concurrency;
        let posthaste = format!(
            "posthaste run {consume} --to https://NGINX/ --concurrency {concurrency} --ca-file CA --summary json"
        );
        let line = |peer: &Peer| match peer {
            Peer::Posthaste => posthaste.clone(),
            Peer::PosthasteLanes => format!("{posthaste} --lanes 4 --threads 2"),
            Peer::GoConsumer => {
                format!(
                    "go-consumer {consume} --to https://NGINX/ --concurrency {concurrency} --ca-file CA    (bench/go-consumer)"
                )
            }
            Peer::NsqToHttp => format!("SSL_CERT_FILE=CA nsq_to_http {consume} --post https://NGINX/"),
            Peer::Wrk => format!("wrk -t1 -c{concurrency} -d{WRK_SECONDS}s -s POST.lua https://NGINX/"),
        };
        self.options.peers.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn row(&self, peer: Peer) -> Option<&Row> {
        self.rows.iter().find(|row| row.peer == peer)
    }

    /// The largest over all of Posthaste's runs: a median would hide a fault.
    fn worst(&self, count: impl Fn(&Run) -> u64) -> f64 {
        self.runs.iter().map(count).max().unwrap_or(0) as f64
    }

    /// What is aimed at, as far as the peers it is held against were run.
    fn aims(&self) -> Vec<Aim> {
        let Some(posthaste) = self.row(Peer::Posthaste) else { return Vec::new() };
        let concurrency = self.options.concurrency as f64;
        let mut aims = vec![
            Aim::at_most("peak memory, MiB", posthaste.peak_mib, 16.0),
            Aim::at_most(
                "its own counts of dials, handshakes and requests, less nginx's",
                self.worst(Run::miscounted),
                0.0,
            ),
            Aim::at_most("requeues, time-outs, E_FIN_FAILED", self.worst(Run::faults), 0.0),
            Aim::at_most("connections / requests at once", posthaste.connections / concurrency, 1.0),
        ];
        if let Some(go) = self.row(Peer::GoConsumer) {
            aims.push(Aim::at_most("CPU / the Go consumer's", posthaste.cpu_us / go.cpu_us, 0.25));
            aims.push(Aim::at_least("rate / the Go consumer's", posthaste.rate / go.rate, 2.5));
        }
        if let Some(nsq_to_http) = self.row(Peer::NsqToHttp) {
            aims.push(Aim::at_most("CPU / nsq_to_http's", posthaste.cpu_us / nsq_to_http.cpu_us, 0.03));
        }
        if let Some(limit) = self.row(Peer::Wrk) {
            aims.push(Aim::at_most(
                "CPU / wrk's, of a bare request",
                posthaste.cpu_us / limit.cpu_us,
                OF_LIMIT,
            ));
        }
        aims
    }
}

/// What taking a message off the queue, pool, deadlines, counts and touches may cost over a bare request. It depends least of all
/// aims on the machine: wrk stood at 0.18 of the Go consumer's CPU where a quarter of that was first aimed at, and at 0.26
/// elsewhere.
const OF_LIMIT: f64 = 1.1;

/// With the digits that say something: counts have none behind the point.
fn shown(figure: f64) -> String {
    let digits = if figure.fract() == 0.0 { 0 } else { 3 };
    format!("{figure:.digits$}")
}

struct Aim {
    what: &'static str,
    measured: String,
    bound: String,
    met: bool,
}

impl Aim {
    fn at_most(what: &'static str, measured: f64, bound: f64) -> Aim {
        Aim {
            what, measured: shown(measured), bound: format!("≤ {}", shown(bound)), met: measured <= bound
        }
    }

    fn at_least(what: &'static str, measured: f64, bound: f64) -> Aim {
        Aim {
            what, measured: shown(measured), bound: format!("≥ {}", shown(bound)), met: measured >= bound
        }
    }
}

impl Row {
    fn of(peer: Peer, runs: &[Run]) -> Row {
        let of_peer = || runs.iter().filter(move |run| run.peer == peer);
        Row {
            peer,
            cpu_us: median(of_peer().map(Run::cpu_us)),
            cpu_us_of_others: median(of_peer().map(Run::cpu_us_of_others)),
            rate: median(of_peer().map(Run::rate)),
            peak_mib: median(of_peer().map(Run::peak_mib)),
            connections: median(of_peer().map(|run| run.connections as f64)),
        }
    }
}

/// The middle one, or the mean of the two in the middle.
fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    match figures.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => figures[n / 2],
        n => f64::midpoint(figures[n / 2 - 1], figures[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_in_the_middle() {
        assert!((median([3.0, 1.0, 2.0].into_iter()) - 2.0).abs() < 1e-9);
        assert!((median([4.0, 1.0, 2.0, 3.0].into_iter()) - 2.5).abs() < 1e-9);
        assert!(median([].into_iter()).is_nan());
    }
}
