//! A wait that ends when it should. The runtime's own timers are whole milliseconds and are rounded up twice, so that an
//! endpoint asked for 50 ms answered after 52: too coarse for tests that measure what the program under test adds.

use std::io;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits for `pause`, to the kernel's precision: some 50 µs.
///
/// # Panics
/// When the process has no file descriptor left.
pub(crate) async fn sleep(pause: Duration) {
    // A timer of zero is one that is switched off.
    if !pause.is_zero() {
        timer(pause).await.expect("a file descriptor for a timer");
    }
}

#[expect(
    deprecated,
    reason = "what replaces it is unsafe, for descriptors that may be closed meanwhile; this one is owned"
)]
async fn timer(pause: Duration) -> io::Result<()> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
    let never_again = Timespec { tv_sec: 0, tv_nsec: 0 };
    let once = Timespec::try_from(pause).map_err(io::Error::other)?;
    timerfd_settime(
        &timer,
        TimerfdTimerFlags::empty(),
        &Itimerspec { it_interval: never_again, it_value: once },
    )?;
    AsyncFd::with_interest(timer, Interest::READABLE)?.readable().await.map(drop)
}
