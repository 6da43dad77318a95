//! One connection: a plain struct that one future owns at a time. It has no task and no channel behind it; dropping it
//! closes the socket, and however it ends, the end is counted once with its reason.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::close_reason::CloseReason;
use crate::idle::IdleWatch;
use crate::outcome::Cause;
use crate::pool::ledger::Ledger;
use crate::transport::{Transport, cause};

/// A connection that can carry requests, one at a time.
pub(crate) struct Connection {
    pub(crate) transport: Transport,
    ledger: Rc<Ledger>,
    watch: IdleWatch,
    /// One timer for the connection's life. A request's deadline is later than that of the request before, so it is
    /// left as it is and moved only when it fires too early: once in 30 s and not once per message.
    timer: Pin<Box<Sleep>>,
    expires_at: Instant,
    /// Requests of which the kernel took a byte.
    requests: u64,
    /// An answer has come on it, so that its end before the next one may mean that the peer closed it while idle.
    pub(crate) has_answered: bool,
    reason: CloseReason,
}

impl Connection {
    pub(crate) fn new(transport: Transport, ledger: Rc<Ledger>, age_max: Duration) -> Connection {
        ledger.record_open();
        let now = Instant::now();
        let expires_at = now + jittered(age_max);
        Connection {
            transport,
            watch: IdleWatch::new(ledger.bell.clone()),
            ledger,
            timer: Box::pin(sleep_until(expires_at)),
            expires_at,
            requests: 0,
            has_answered: false,
            // What is true when it is just dropped, by a future that was dropped itself.
            reason: CloseReason::Cancelled,
        }
    }

    /// Closes it for `reason`.
    pub(crate) fn close(mut self, reason: CloseReason) {
        self.reason = reason;
        if reason.is_orderly() {
            self.transport.say_goodbye();
        }
    }

    pub(crate) fn record_request(&mut self) {
        self.requests += 1;
        self.ledger.counters.requests.one();
    }

    /// Ready when `deadline` has passed, even if the task has used up its budget: a peer that sends faster than we read
    /// would else put the deadline off for ever.
    pub(crate) fn poll_deadline(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        // Requests that had waited for a connection can have earlier deadlines than the one before them.
        if self.timer.deadline() > deadline {
            self.timer.as_mut().reset(deadline);
        }
        loop {
            ready!(pin!(unconstrained(self.timer.as_mut())).poll(cx));
            if self.timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(deadline);
        }
    }

    /// Starts the watch over the connection, now idle.
    ///
    /// # Errors
    /// The reason to close it instead.
    pub(crate) fn become_idle(
        &mut self,
        now: Instant,
        requests_max: Option<u64>,
        scratch: &mut [u8],
    ) -> Result<(), CloseReason> {
        if requests_max.is_some_and(|max| self.requests >= max) {
            return Err(CloseReason::RequestsMax);
        }
        if now >= self.expires_at {
            return Err(CloseReason::Age);
        }
        self.watch.start(&mut self.transport, scratch, now)
    }

    /// Looks at it because its watch fired.
    ///
    /// # Errors
    /// The reason to close it.
    pub(crate) fn look(&mut self, scratch: &mut [u8]) -> Result<(), CloseReason> {
        if self.watch.fired() { self.watch.look(&mut self.transport, scratch) } else { Ok(()) }
    }

    /// Whether it is still fit to stay idle, by the clock alone.
    ///
    /// # Errors
    /// The reason to close it.
    pub(crate) fn check_age(&self, now: Instant, idle_timeout: Duration) -> Result<(), CloseReason> {
        if now >= self.expires_at {
            Err(CloseReason::Age)
        } else if now - self.watch.since() >= idle_timeout {
            Err(CloseReason::IdleTimeout)
        } else {
            Ok(())
        }
    }

    /// The last look before a request.
    ///
    /// # Errors
    /// The reason to close it instead.
    pub(crate) fn before_use(&mut self, now: Instant, scratch: &mut [u8]) -> Result<(), CloseReason> {
        self.watch.before_use(&mut self.transport, scratch, now)
    }

    /// What to tell a request that waited for it, when it was found to have ended for `reason`.
    pub(crate) fn cause_of_end(&self, reason: CloseReason) -> Cause {
        self.watch.cause().cloned().unwrap_or_else(|| cause(reason, None))
    }

    /// When it became idle.
    pub(crate) fn idle_since(&self) -> Instant {
        self.watch.since()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.ledger.record_close(self.reason, self.requests);
    }
}

/// `age` give or take a tenth.
fn jittered(age: Duration) -> Duration {
    // The only randomness that std has; quality does not matter here.
    let random = RandomState::new().hash_one(0u8) % 2_001;
    age * 9 / 10 + age / 10 * u32::try_from(random).expect("at most 2,000") / 1_000
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;

    use tokio::net::TcpSocket;
    use tokio::task::coop::poll_proceed;

    use super::*;
    use crate::counters::EndpointCounters;
    use crate::socket::Socket;

    #[test]
    fn jitter_stays_within_a_tenth_and_spreads() {
        let age = Duration::from_secs(600);
        let ages: Vec<_> = (0..1_000).map(|_| jittered(age)).collect();
        assert!(ages.iter().all(|age| (540..=660).contains(&age.as_secs())));
        let (min, max) = (ages.iter().min().unwrap(), ages.iter().max().unwrap());
        assert!(max.as_secs() - min.as_secs() > 100, "{min:?} to {max:?}");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_deadline_is_told_to_a_task_that_has_used_up_its_budget() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let stream = TcpSocket::new_v4().expect("a socket").connect(address).await.expect("it listens");
        let counters = Arc::new(EndpointCounters::default());
        let transport = Transport::Plain(Socket::new(stream, counters.clone()));
        let mut connection = Connection::new(transport, Ledger::new(counters), Duration::from_secs(600));
        let deadline = Instant::now();
        tokio::time::sleep(Duration::from_millis(5)).await;
        let told = poll_fn(|cx| {
            while let Poll::Ready(spent) = poll_proceed(cx) {
                spent.made_progress();
            }
            Poll::Ready(connection.poll_deadline(cx, deadline))
        });
        assert!(told.await.is_ready());
    }
}
