//! Messages over `message_bytes_max`: how long each is put away for. Pure.
//!
//! Such a message is not read into memory: its head is read, it is requeued while it streams by, and the
//! connection lives. Closing instead would have nsqd send it again at once, and one large message would stall
//! its channel for ever. The delay grows with nsqd's own count of attempts, so nothing has to be remembered
//! here, and it holds over restarts too.

use std::time::Duration;

/// Delay after the first attempt; it doubles with each one after that.
const FIRST: Duration = Duration::from_secs(1);

/// How long to put the message away after its `attempts`-th delivery. nsqd's count wraps at 65,535 to 0,
/// which then means very many.
pub(super) fn delay(attempts: u16, max: Duration) -> Duration {
    let doublings = attempts.wrapping_sub(1).min(31);
    FIRST.saturating_mul(1 << doublings).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_with_the_attempts_up_to_the_longest_requeue() {
        let max = Duration::from_secs(3_600);
        assert_eq!(delay(1, max), Duration::from_secs(1));
        assert_eq!(delay(4, max), Duration::from_secs(8));
        assert_eq!(delay(13, max), max);
        assert_eq!(delay(0, max), max, "wrapped: that many attempts");
        assert_eq!(delay(u16::MAX, max), max);
    }
}
