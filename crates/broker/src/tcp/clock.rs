//! When to say something to a client, and when to give it up. One timer for all of it, re-armed only when it fires.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// When nothing else is due, the timer fires this late: it must fire some time.
const NEVER: Duration = Duration::from_secs(86_400);

pub(super) struct Clock {
    timer: Pin<Box<Sleep>>,
    /// `None`: the client wants none, and is never given up for its silence.
    heartbeat: Option<Duration>,
    next_heartbeat: Instant,
    /// The last command.
    heard: Instant,
    /// How long a client may take nothing of what waits for it, where heartbeats do not say.
    stall_limit: Duration,
}

/// What is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Heartbeat,
    /// No command for two heartbeats.
    Silent,
    /// Nothing was taken for one heartbeat.
    Stalled,
}

impl Clock {
    pub(super) fn new(heartbeat: Option<Duration>, stall_limit: Duration) -> Self {
        let now = Instant::now();
        let mut clock = Self {
            timer: Box::pin(sleep_until(now + NEVER)),
            heartbeat: None,
            next_heartbeat: now,
            heard: now,
            stall_limit,
        };
        clock.set_heartbeat(heartbeat);
        clock
    }

    /// The first one comes an interval from now.
    pub(super) fn set_heartbeat(&mut self, heartbeat: Option<Duration>) {
        self.heartbeat = heartbeat;
        let now = Instant::now();
        self.next_heartbeat = now + heartbeat.unwrap_or(NEVER);
        self.timer.as_mut().reset(self.next_heartbeat);
    }

    /// A command was executed.
    pub(super) fn heard(&mut self) {
        self.heard = Instant::now();
    }

    /// The client has taken nothing since then: the timer must not fire later than its limit.
    pub(super) fn watch_stall(&mut self, since: Instant) {
        let limit = since + self.stall_limit();
        if limit < self.timer.deadline() {
            self.timer.as_mut().reset(limit);
        }
    }

    fn stall_limit(&self) -> Duration {
        self.heartbeat.unwrap_or(self.stall_limit)
    }

    /// What is due now, one at a time; pending, and armed, when nothing is.
    pub(super) fn poll(&mut self, stalled: Option<Instant>, cx: &mut Context<'_>) -> Poll<Due> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let silent = self.heartbeat.map(|interval| self.heard + 2 * interval);
            let stalled = stalled.map(|since| since + self.stall_limit());
            if stalled.is_some_and(|limit| limit <= now) {
                return Poll::Ready(Due::Stalled);
            }
            if silent.is_some_and(|limit| limit <= now) {
                return Poll::Ready(Due::Silent);
            }
            let beat = self.heartbeat.filter(|_| self.next_heartbeat <= now);
            self.next_heartbeat = beat.map_or(self.next_heartbeat, |interval| now + interval);
            let next = [silent, stalled].into_iter().flatten().fold(self.next_heartbeat, Instant::min);
            self.timer.as_mut().reset(if self.heartbeat.is_some() || stalled.is_some() {
                next
            } else {
                now + NEVER
            });
            if beat.is_some() {
                return Poll::Ready(Due::Heartbeat);
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn it_beats_and_gives_up_the_silent() {
        let begun = Instant::now();
        let mut clock = Clock::new(Some(SECOND), 60 * SECOND);
        assert_eq!(poll_fn(|cx| clock.poll(None, cx)).await, Due::Heartbeat);
        assert_eq!(begun.elapsed(), SECOND);
        clock.heard();
        assert_eq!(poll_fn(|cx| clock.poll(None, cx)).await, Due::Heartbeat);
        assert_eq!(poll_fn(|cx| clock.poll(None, cx)).await, Due::Silent);
        assert_eq!(begun.elapsed(), 3 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_client_is_given_up_with_and_without_heartbeats() {
        for (heartbeat, limit) in [(Some(SECOND), SECOND), (None, 7 * SECOND)] {
            let begun = Instant::now();
            let mut clock = Clock::new(heartbeat, 7 * SECOND);
            clock.watch_stall(begun);
            while poll_fn(|cx| clock.poll(Some(begun), cx)).await == Due::Heartbeat {}
            assert_eq!(begun.elapsed(), limit);
        }
    }
}
