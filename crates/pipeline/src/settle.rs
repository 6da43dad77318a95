//! What an outcome does to its message. The one place where a message is finished.
//!
//! For now a 2xx finishes and all else requeues with a delay. What a message's own fault, an endpoint's outage or a
//! Retry-After deserve is decided here and nowhere else, so a failure policy has one door to come in by.

use client::{Delivery, Settled};
use delivery::{Outcome, Verdict};
use tokio::time::Instant;

use crate::backoff::{BackoffSettings, Jitter};
use crate::ledger::LaneCounters;

/// Settles `delivery` by `outcome`, which is known since `now`.
pub(crate) fn settle(
    delivery: Delivery,
    outcome: &Outcome,
    now: Instant,
    backoff: &BackoffSettings,
    jitter: &Jitter,
    counters: &LaneCounters,
) {
    match outcome.verdict {
        Verdict::Delivered => {
            counters.delivered.add(1);
            // The receiver has it, but nsqd will deliver it again: a duplicate to expect.
            if let Settled::TooLate(_) = delivery.finish_at(now) {
                counters.delivered_unfinished.add(1);
            }
        }
        Verdict::Retry | Verdict::Reject => {
            counters.failed.add(1);
            let delay = backoff.delay(delivery.attempts(), jitter.draw());
            // Too late means that nsqd has it back already: it is counted as expired or lost where that was noticed.
            let (Settled::Sent | Settled::TooLate(_)) = delivery.requeue(delay);
        }
    }
}
