//! The live line: what is going on now, for whoever watches a terminal.

use std::time::Duration;

use pipeline::Snapshot;
use rustix::termios::tcgetwinsize;
use tokio::time::Instant;

use crate::figures::{count, counted};

/// How often the line is written again: often enough to look alive, seldom enough to cost nothing.
pub(crate) const INTERVAL: Duration = Duration::from_millis(250);

/// Shown where the terminal does not tell its width.
const COLUMNS: usize = 80;

/// Makes one line after another, and rates from the difference.
#[derive(Debug)]
pub(crate) struct LiveLine {
    seen_at: Instant,
    delivered: u64,
    rate: f64,
}

impl LiveLine {
    pub(crate) fn new() -> LiveLine {
        LiveLine { seen_at: Instant::now(), delivered: 0, rate: 0.0 }
    }

    /// The line for what `snapshot` says, no longer than the terminal is wide.
    pub(crate) fn next(&mut self, snapshot: &Snapshot, draining: bool) -> String {
        let total = snapshot.total();
        let now = Instant::now();
        let passed = now.duration_since(self.seen_at).as_secs_f64();
        if passed > 0.0 {
            let rate = (total.ledger.delivered - self.delivered) as f64 / passed;
            // Half of the new and half of the old: it can be read, and follows within a second.
            self.rate = (self.rate + rate) / 2.0;
        }
        (self.seen_at, self.delivered) = (now, total.ledger.delivered);

        let endpoint = &total.endpoint;
        let mut line = format!(
            "{}{}/s | {} delivered | {} in flight | {}/{} busy | {} | {} full + {} resumed",
            if draining { "draining | " } else { "" },
            count(self.rate.round() as u64),
            count(total.ledger.delivered),
            count(total.ledger.in_flight),
            count(total.permits_busy),
            count(total.permits),
            counted(endpoint.open, "connection"),
            count(endpoint.handshakes_full),
            counted(endpoint.handshakes_resumed, "handshake"),
        );
        for (number, what) in [(total.ledger.failed, "failed"), (total.consumer.fin_failed, "E_FIN_FAILED")] {
            if number > 0 {
                line += &format!(" | {} {what}", count(number));
            }
        }
        // The last column stays free: some terminals go to the next line when it is written.
        line.truncate(columns().saturating_sub(1));
        line
    }
}

fn columns() -> usize {
    tcgetwinsize(std::io::stderr()).map_or(COLUMNS, |size| match size.ws_col {
        0 => COLUMNS,
        columns => usize::from(columns),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::RouteSnapshot;

    #[tokio::test(start_paused = true)]
    async fn the_rate_comes_from_the_difference() {
        let mut live = LiveLine::new();
        let mut route = RouteSnapshot::default();
        (route.permits, route.permits_busy) = (64, 60);
        for _ in 0..20 {
            tokio::time::advance(INTERVAL).await;
            route.ledger.delivered += 250;
            live.next(&Snapshot { routes: vec![route.clone()] }, false);
        }
        tokio::time::advance(INTERVAL).await;
        route.ledger.delivered += 250;
        let line = live.next(&Snapshot { routes: vec![route] }, true);
        assert!(
            line.starts_with("draining | 1,000/s | 5,250 delivered | 0 in flight | 60/64 busy"),
            "{line}"
        );
    }
}
