//! A time from now that no `Duration` of a caller can overflow.

use std::time::Duration;

use tokio::time::Instant;

/// Far behind what anybody waits for, and far before the end of any clock.
pub(crate) const FAR_OFF: Duration = Duration::from_secs(30 * 365 * 86_400);

/// When `time` has passed.
pub(crate) fn after(time: Duration) -> Instant {
    Instant::now() + time.min(FAR_OFF)
}
