//! The producer's task: dial, serve the connection until it ends, wait, dial again, for ever.

use std::future::poll_fn;
use std::rc::Rc;

use tokio::time::{Instant, sleep};

use super::connection::{Connection, Disconnect};
use super::error::OutcomeUnknown;
use super::shared::Shared;
use super::{ProducerEvent, ProducerSettings};
use crate::dial::{Dialer, Dialled};
use crate::reconnect::{Backoff, dice};

/// The task's hold on what it shares with the handles. Whatever ends the task, a panic of `events` or the end of its
/// `LocalSet` included, nobody may wait for it any longer.
pub(super) struct Served(pub(super) Rc<Shared>);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.end();
        let mut requests = self.0.requests.borrow_mut();
        requests.lost(&OutcomeUnknown::Stopped, Instant::now());
        requests.stop();
    }
}

pub(super) async fn run(
    served: Served,
    dialer: Dialer,
    settings: ProducerSettings,
    mut events: impl FnMut(ProducerEvent),
) {
    let shared = &served.0;
    let mut backoff = Backoff::new(settings.reconnect_min, settings.reconnect_max);
    while let Some(dialled) = shared.tend(dialer.dial(&settings.address)).await {
        let retry_in = match dialled {
            Err(error) => {
                shared.counters.connect_failures.add(1);
                let retry_in = backoff.next(dice());
                events(ProducerEvent::ConnectFailed { error, retry_in });
                retry_in
            }
            Ok(dialled) => {
                shared.counters.connects.add(1);
                events(ProducerEvent::Connected);
                let connected = Instant::now();
                let Some(reason) = serve(shared, dialled).await else { break };
                backoff.lived(connected.elapsed());
                // A refusal answers one request, so redialling at once cannot go on for ever; the requests behind it should not wait.
                let at_once = matches!(reason, Disconnect::Refused(_));
                events(ProducerEvent::Disconnected { reason });
                if at_once {
                    continue;
                }
                backoff.next(dice())
            }
        };
        if shared.tend(sleep(retry_in)).await.is_none() {
            break;
        }
    }
}

/// Until the connection ends. What was sent and not answered is of unknown outcome then; `None` when it is the producer that ends.
async fn serve(shared: &Shared, dialled: Dialled) -> Option<Disconnect> {
    let mut connection = Connection::new(dialled);
    // An expiry that was noticed as the last connection went is not this one's.
    shared.take_sent_expired();
    shared.connected.set(true);
    let ended = shared.tend(poll_fn(|cx| connection.poll(cx, shared))).await;
    shared.connected.set(false);
    // Closed before anybody is told: no answer can come any more.
    drop(connection);
    if let Some(reason) = &ended {
        shared.requests.borrow_mut().lost(&OutcomeUnknown::Disconnected(reason.clone()), Instant::now());
    }
    ended
}
