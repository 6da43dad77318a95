//! The summary for someone tired: the answer first, then the proof, then whatever needs a look.

use std::fmt::Write;
use std::time::Duration;

use super::{LatencyMicros, RouteFigures, Summary};
use crate::figures::{bytes, count, counted, time};

impl Summary {
    /// The whole text, an empty line before it.
    pub(crate) fn human(&self) -> String {
        let mut text = String::from("\n");
        if self.routes.len() > 1 {
            for route in &self.routes {
                line(&mut text, &route.route, &route.headline(self.wall_s));
            }
            text.push('\n');
        }
        line(&mut text, "delivered", &self.total.headline(self.wall_s));
        self.total.ledger(&mut text);
        self.total.connections(&mut text);
        self.total.latency(&mut text);
        self.cost(&mut text);
        self.total.troubles(&mut text);
        text
    }

    fn cost(&self, text: &mut String) {
        let per_message = match self.total.delivered {
            0 => String::new(),
            delivered => format!(", {:.1} us a message", self.cpu_s * 1e6 / delivered as f64),
        };
        let memory = self
            .memory_peak_bytes
            .map_or(String::new(), |peak| format!("; {} of memory at most", bytes(peak)));
        let cpu = time(Duration::from_secs_f64(self.cpu_s));
        line(text, "cost", &format!("{cpu} of CPU{per_message}{memory}"));
    }
}

/// One line: what it is about, and what there is to say.
fn line(text: &mut String, about: &str, says: &str) {
    writeln!(text, "  {about:<12} {says}").expect("a string takes everything");
}

impl RouteFigures {
    fn headline(&self, wall_s: f64) -> String {
        let rate = if wall_s > 0.0 { self.delivered as f64 / wall_s } else { 0.0 };
        let wall = time(Duration::from_secs_f64(wall_s));
        format!(
            "{} in {wall} of running, {} a second on average",
            counted(self.delivered, "message"),
            count(rate as u64)
        )
    }

    fn ledger(&self, text: &mut String) {
        let mut says = format!("{} received = {} finished", count(self.received), count(self.finished));
        for (number, door) in [
            (self.requeued, "requeued"),
            (self.expired, "expired"),
            (self.connection_lost, "lost with their connection"),
            (self.left, "left in flight"),
        ] {
            if number > 0 {
                says += &format!(" + {} {door}", count(number));
            }
        }
        line(text, "messages", &says);
        line(text, "NSQ", &format!("{} E_FIN_FAILED, {} TOUCH", count(self.fin_failed), count(self.touched)));
    }

    fn connections(&self, text: &mut String) {
        let carried = &self.requests_per_connection;
        line(
            text,
            "connections",
            &format!("{} for {}", count(self.connections), counted(self.requests, "request")),
        );
        line(
            text,
            "",
            &format!(
                "{} to {} requests each, {:.0} on average",
                count(carried.min),
                count(carried.max),
                carried.mean
            ),
        );
        let handshakes = self.handshakes_full + self.handshakes_resumed;
        let each = Duration::from_micros(self.handshake_wall_us.checked_div(handshakes).unwrap_or(0));
        let took = if handshakes > 0 { format!(", {} each on average", time(each)) } else { String::new() };
        line(
            text,
            "handshakes",
            &format!(
                "{} full, {} resumed{took}",
                count(self.handshakes_full),
                count(self.handshakes_resumed)
            ),
        );
        let closes: Vec<_> =
            self.closes.iter().map(|(reason, closes)| format!("{reason} {}", count(*closes))).collect();
        if !closes.is_empty() {
            line(text, "closed", &closes.join(", "));
        }
    }

    fn latency(&self, text: &mut String) {
        let LatencyMicros { p50, p90, p99, max } = self.latency_us;
        let [p50, p90, p99, max] = [p50, p90, p99, max].map(|us| time(Duration::from_micros(us)));
        line(text, "latency", &format!("p50 {p50}, p90 {p90}, p99 {p99}, max {max}"));
        let busy = format!("{:.1} of {} on average", self.permits_busy_mean, self.permits);
        line(text, "busy permits", &busy);
    }

    /// Only what occurred: a quiet run has no such lines.
    fn troubles(&self, text: &mut String) {
        for (number, trouble) in [
            (self.failed, "requests failed, their messages were requeued"),
            (self.delivered_unfinished, "delivered but no longer finished: expect them a second time"),
            (
                self.finishes_unsent,
                "finished on a connection that ended, or took nothing in time: expect them a second time",
            ),
            (self.left, "still held at the end: nsqd delivers them again after its message timeout"),
            (self.dial_failures, "dials failed"),
            (self.unsent_resends, "requests sent again of which nothing had been sent"),
            (self.stale_resends, "requests sent again because a kept connection had ended"),
            (self.emfile_waits, "dials waited for a free file descriptor"),
            (self.oversized, "messages larger than message_bytes_max, requeued"),
            (self.adopted, "messages delivered again while they were being posted"),
            (self.req_failed, "E_REQ_FAILED"),
            (self.touch_failed, "E_TOUCH_FAILED"),
            (self.nsq_disconnects, "NSQ connections ended before their time"),
            (self.nsq_connect_failures, "NSQ connections could not be made"),
            (self.nsqlookupd_failures, "nsqlookupd questions failed"),
        ] {
            if number > 0 {
                line(text, "note", &format!("{} {trouble}", count(number)));
            }
        }
    }
}
