//! Until when a delivery may be answered, and when it is touched. Pure.
//!
//! nsqd gives a message to someone else `msg_timeout` after it took it up, and it takes it up *before* its
//! output buffer. Seen from here the delivery began up to `output_buffer_timeout` before it was read, and an
//! answer needs time to arrive. So a delivery ends a margin earlier than nsqd's own clock says: the output
//! buffer's timeout, plus a tenth of `msg_timeout`, at least 100 ms, for the network and for a busy nsqd.
//! After that end nothing is sent for it: a FIN that comes late fails at best, and at worst it acknowledges a
//! newer delivery of the same message.

use std::time::Duration;

use tokio::time::Instant;

use crate::dial::Negotiated;

/// Least allowance for the way of an answer and for a busy nsqd.
const MARGIN_MIN: Duration = Duration::from_millis(100);
/// A deadline is looked at about twenty times within `msg_timeout`, but neither busily nor seldom.
const SWEEP_MIN: Duration = Duration::from_millis(10);
const SWEEP_MAX: Duration = Duration::from_secs(1);

/// What the deadlines of one connection are made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    msg_timeout: Duration,
    max_msg_timeout: Duration,
    margin: Duration,
    touch_after: Duration,
}

impl Timing {
    pub(super) fn new(negotiated: &Negotiated) -> Timing {
        let Negotiated { msg_timeout, max_msg_timeout, output_buffer_timeout, .. } = *negotiated;
        // An output buffer slower than the message timeout would leave no time at all; a quarter of it stays
        // usable, and the rest is the user's choice.
        let margin = (output_buffer_timeout + MARGIN_MIN.max(msg_timeout / 10)).min(msg_timeout * 3 / 4);
        // At half; earlier only where the margin is so wide that half would come too late.
        let touch_after = (msg_timeout / 2).min((msg_timeout - margin) * 2 / 3);
        Timing { msg_timeout, max_msg_timeout, margin, touch_after }
    }

    /// The end of a delivery read at `read_at` and last renewed (read or touched) at `renewed_at`.
    pub(super) fn deadline(&self, read_at: Instant, renewed_at: Instant) -> Instant {
        (renewed_at + self.msg_timeout).min(read_at + self.max_msg_timeout) - self.margin
    }

    /// Whether a TOUCH is due, and would still gain something: nsqd extends nothing past `max_msg_timeout`.
    pub(super) fn touch_due(&self, read_at: Instant, renewed_at: Instant, now: Instant) -> bool {
        now >= renewed_at + self.touch_after && renewed_at + self.msg_timeout < read_at + self.max_msg_timeout
    }

    /// How often to look for what is due: a delivery costs no timer of its own, and a TOUCH comes at most
    /// this late.
    pub(super) fn sweep_interval(&self) -> Duration {
        (self.msg_timeout / 20).clamp(SWEEP_MIN, SWEEP_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Compression;

    fn timing(msg_timeout_ms: u64, max_ms: u64, buffer_ms: u64) -> Timing {
        Timing::new(&Negotiated {
            msg_timeout: Duration::from_millis(msg_timeout_ms),
            max_msg_timeout: Duration::from_millis(max_ms),
            max_rdy_count: 2500,
            heartbeat_interval: Duration::from_secs(5),
            output_buffer_timeout: Duration::from_millis(buffer_ms),
            compression: Compression::None,
            tls: false,
        })
    }

    #[test]
    fn a_fresh_delivery_ends_a_margin_before_nsqd_takes_it_back() {
        let now = Instant::now();
        let ms = |n| now + Duration::from_millis(n);
        assert_eq!(timing(60_000, 900_000, 25).deadline(now, now), ms(60_000 - 25 - 6_000));
        assert_eq!(timing(1_000, 900_000, 25).deadline(now, now), ms(1_000 - 25 - 100), "at least 100 ms");
    }

    #[test]
    fn a_touch_extends_it_but_never_past_the_ceiling() {
        let timing = timing(1_000, 3_000, 25);
        let now = Instant::now();
        let ms = |n| now + Duration::from_millis(n);
        assert_eq!(timing.deadline(now, ms(500)), ms(1_375));
        assert_eq!(timing.deadline(now, ms(2_500)), ms(2_875), "read + max_msg_timeout - margin");
    }

    #[test]
    fn touch_is_due_at_half_and_not_when_it_gains_nothing() {
        let timing = timing(1_000, 3_000, 25);
        let now = Instant::now();
        let ms = |n| now + Duration::from_millis(n);
        assert!(!timing.touch_due(now, now, ms(499)));
        assert!(timing.touch_due(now, now, ms(500)));
        assert!(timing.touch_due(now, ms(1_999), ms(2_499)));
        assert!(!timing.touch_due(now, ms(2_000), ms(2_500)), "the ceiling is reached already");
    }

    #[test]
    fn a_touch_that_is_a_sweep_late_still_comes_before_the_deadline() {
        for msg_timeout_ms in [1_000, 2_000, 10_000, 60_000, 900_000] {
            for buffer_ms in [0, 25, 250, 1_000, 30_000] {
                let timing = timing(msg_timeout_ms, 3_600_000, buffer_ms);
                let now = Instant::now();
                let latest = now + timing.touch_after + timing.sweep_interval();
                assert!(
                    latest < timing.deadline(now, now),
                    "msg_timeout {msg_timeout_ms}, buffer {buffer_ms}"
                );
            }
        }
    }
}
