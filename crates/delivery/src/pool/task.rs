//! The pool's one task: it dials, sweeps, and sleeps in between.

use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::select;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::{DESCRIPTOR_WAIT, Pool};
use crate::connection::Connection;
use crate::dial::{DialError, Dialer};
use crate::outcome::Cause;
use crate::transport::Transport;

/// How long a dial holds its place among the worker's. Those are there for the CPU time of handshakes, and a dial that
/// takes longer waits for its peer: holding on, the dials to one that hangs would keep all other pools from dialling.
const PLACE_HELD_MAX: Duration = Duration::from_millis(250);

type Dialled = Result<Transport, DialError>;

/// Runs until the pool is closed and its last connection is gone.
pub(crate) async fn run(pool: Rc<Pool>, dialer: Rc<Dialer>, dial_places: Arc<Semaphore>) {
    let mut dials: JoinSet<Dialled> = JoinSet::new();
    let mut place = Place::default();
    loop {
        pool.sweep();
        pool.make_room();
        if pool.needs_no_dials() {
            abort(&pool, &mut dials).await;
            // As long as a request is under way it may have to be sent again.
            if pool.ledger.open() == 0 && pool.needs_no_dials() {
                return;
            }
        }
        let now = Instant::now();
        place.wait_if(pool.wants_dial(now), &dial_places);
        select! {
            () = pool.ledger.bell.rung() => {}
            Some(ended) = dials.join_next() => pool.dial_ended(ended),
            permit = place.come() => {
                // The wait may have been long: what is wanted by now?
                if !pool.wants_dial(Instant::now()) {
                    continue;
                }
                pool.set_dialling(pool.dialling.get() + 1);
                pool.counters().dials.one();
                let dialer = dialer.clone();
                dials.spawn_local(async move {
                    let mut dial = pin!(dialer.dial());
                    if let Ok(dialled) = timeout(PLACE_HELD_MAX, &mut dial).await {
                        return dialled;
                    }
                    drop(permit);
                    dial.await
                });
            }
            () = sleep_until(pool.next_look(now)) => {}
        }
    }
}

/// Waiting for one of the worker's dials, in order with the other pools. Kept over the loop's rounds: a new wait would
/// start at the end of the queue.
#[derive(Default)]
struct Place(Option<Pin<Box<dyn Future<Output = OwnedSemaphorePermit>>>>);

impl Place {
    fn wait_if(&mut self, wanted: bool, places: &Arc<Semaphore>) {
        if !wanted {
            self.0 = None;
        } else if self.0.is_none() {
            let place = places.clone().acquire_owned();
            self.0 = Some(Box::pin(async { place.await.expect("the semaphore is never closed") }));
        }
    }

    async fn come(&mut self) -> OwnedSemaphorePermit {
        match &mut self.0 {
            Some(place) => {
                let permit = place.await;
                self.0 = None;
                permit
            }
            None => pending().await,
        }
    }
}

async fn abort(pool: &Pool, dials: &mut JoinSet<Dialled>) {
    dials.abort_all();
    while let Some(ended) = dials.join_next().await {
        pool.dial_ended(ended);
    }
}

impl Pool {
    fn wants_dial(&self, now: Instant) -> bool {
        now >= self.dial_not_before.get() && self.demand().wants_dial()
    }

    /// When to look again if nothing happens until then.
    fn next_look(&self, now: Instant) -> Instant {
        // What becomes idle from now on is not due before that, so a check-in need not wake this task.
        let idle = now + self.limits.idle_timeout;
        let sweep = self.sweep_due().filter(|due| *due > now).unwrap_or(idle);
        let holds = [self.dial_not_before.get(), self.warm_not_before.get()];
        holds.into_iter().filter(|hold| *hold > now).fold(sweep, Instant::min)
    }

    fn dial_ended(&self, ended: Result<Dialled, JoinError>) {
        self.set_dialling(self.dialling.get() - 1);
        self.lacks_descriptors.set(matches!(ended, Ok(Err(DialError::OutOfDescriptors))));
        match ended {
            Ok(Ok(transport)) => {
                let connection = Connection::new(transport, self.ledger.clone(), self.limits.age_max);
                self.take_dialled(Box::new(connection));
            }
            Ok(Err(DialError::OutOfDescriptors)) => {
                self.counters().emfile_waits.one();
                self.dial_not_before.set(Instant::now() + DESCRIPTOR_WAIT);
            }
            Ok(Err(DialError::Failed(cause))) => {
                self.counters().dial_failures.one();
                self.dial_failed(cause);
            }
            Err(error) if error.is_cancelled() => self.counters().dials_aborted.one(),
            // Passed on, it would end this task, and all who wait for a connection would wait for their deadlines.
            Err(error) => {
                tracing::error!(%error, "a dial panicked");
                self.counters().dial_failures.one();
                self.dial_failed(Cause::DialPanicked);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::EndpointCounters;
    use crate::local::Local;
    use crate::outcome::Phase;
    use crate::pool::{Limits, Need, Turn};
    use crate::settings::EndpointSettings;
    use crate::target::EndpointUrl;

    #[tokio::test(flavor = "current_thread")]
    async fn a_dial_that_panics_is_a_dial_that_failed() {
        let settings = EndpointSettings::new(EndpointUrl::parse("http://h").expect("a valid URL"));
        let counters = Arc::new(EndpointCounters::default());
        let pool = Pool::new(Limits::of(&settings), Local::default(), counters.clone());
        let waits = pool.wait(Need::Any, Turn::Last);
        let mut dials: JoinSet<Dialled> = JoinSet::new();
        dials.spawn(async { panic!("a mistake in a dial") });
        pool.set_dialling(1);
        pool.dial_ended(dials.join_next().await.expect("one dial"));
        assert_eq!(waits.await.err(), Some(Cause::DialPanicked));
        assert_eq!((counters.dial_failures.get(), counters.dialling.get()), (1, 0));
    }

    /// The deadline may come at any moment between two dials that find none.
    #[tokio::test(flavor = "current_thread")]
    async fn a_wait_in_vain_is_for_want_of_descriptors_also_between_two_dials() {
        let settings = EndpointSettings::new(EndpointUrl::parse("http://h").expect("a valid URL"));
        let counters = Arc::new(EndpointCounters::default());
        let pool = Pool::new(Limits::of(&settings), Local::default(), counters.clone());
        let ended = |with| {
            pool.set_dialling(1);
            pool.dial_ended(Ok(Err(with)));
        };
        ended(DialError::OutOfDescriptors);
        tokio::time::sleep(DESCRIPTOR_WAIT).await;
        assert_eq!(pool.cause_of_wait(), Cause::TooManyOpenFiles);
        pool.set_dialling(1);
        assert_eq!(pool.cause_of_wait(), Cause::TooManyOpenFiles, "while the next dial is under way");
        ended(DialError::Failed(Cause::Deadline(Phase::Connect)));
        assert_eq!(pool.cause_of_wait(), Cause::Deadline(Phase::Place), "what lacks is another thing now");
        assert_eq!(counters.emfile_waits.get(), 1);
    }
}
