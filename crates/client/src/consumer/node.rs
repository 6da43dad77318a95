//! One nsqd: dialled, served, and dialled again, for as long as it is wanted.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::connection::{Connection, Ended};
use super::event::{DisconnectReason, Event};
use super::settings::Source;
use super::shared::Shared;
use crate::dial::{DialError, Dialer, Dialled};
use crate::reconnect::{Backoff, dice};

/// Sees to it that this nsqd is consumed from; nothing if it is already.
pub(super) fn want(shared: &Rc<Shared>, dialer: &Dialer, address: Arc<str>) {
    if let Some(wanted) = shared.nodes.borrow().get(&address) {
        wanted.set(true);
        return;
    }
    let wanted = Rc::new(Cell::new(true));
    shared.nodes.borrow_mut().insert(Arc::clone(&address), Rc::clone(&wanted));
    let settings = &shared.settings;
    let backoff = Backoff::new(settings.reconnect_min, settings.reconnect_max);
    let node = Node { shared: Rc::clone(shared), dialer: dialer.clone(), address, wanted, backoff };
    shared.spawn(node.run());
}

/// No longer dialled once its connection ends. A live connection is not closed for it: an nsqlookupd that was
/// restarted, or a tombstone, delists nsqds that work.
pub(super) fn unwant(shared: &Shared, address: &str) {
    if let Some(wanted) = shared.nodes.borrow().get(address) {
        wanted.set(false);
    }
}

struct Node {
    shared: Rc<Shared>,
    dialer: Dialer,
    address: Arc<str>,
    wanted: Rc<Cell<bool>>,
    backoff: Backoff,
}

impl Node {
    async fn run(mut self) {
        let shared = Rc::clone(&self.shared);
        while self.is_wanted() {
            let dialled = tokio::select! {
                dialled = self.dial() => dialled,
                () = shared.stop_begun() => break,
            };
            let wait = match dialled {
                Ok(Dialled { stream, negotiated, .. }) => {
                    let node = Arc::clone(&self.address);
                    // A connection sees to its own stop, so that what it holds is answered.
                    let ended = Connection::new(&shared, node, stream, negotiated).serve().await;
                    self.ended(ended)
                }
                Err(error) => self.dial_failed(error),
            };
            let Some(wait) = wait else { break };
            tokio::select! {
                () = sleep(wait) => {}
                () = shared.stop_begun() => break,
            }
        }
        shared.nodes.borrow_mut().remove(&self.address);
    }

    async fn dial(&self) -> Result<Dialled, DialError> {
        match &self.shared.settings.source {
            Source::Memory(queue) => self.dialer.open(queue).await,
            Source::Nsqds(_) | Source::Lookupds(_) => self.dialer.dial(&self.address).await,
        }
    }

    fn is_wanted(&self) -> bool {
        self.wanted.get() && self.shared.stops_at().is_none()
    }

    /// How long to wait for the next dial; `None` when there is to be none.
    fn retry_in(&mut self) -> Option<Duration> {
        self.is_wanted().then(|| self.backoff.next(dice()))
    }

    fn dial_failed(&mut self, error: DialError) -> Option<Duration> {
        let retry_in = self.retry_in();
        self.shared.counters.connect_failures.add(1);
        let node = Arc::clone(&self.address);
        self.shared.events.tell(Event::ConnectFailed { node, error, retry_in });
        retry_in
    }

    fn ended(&mut self, ended: Ended) -> Option<Duration> {
        let Ended { reason, lived, connection_lost, finishes_unsent } = ended;
        self.backoff.lived(lived.unwrap_or_default());
        let retry_in = self.retry_in();
        let counters = &self.shared.counters;
        match (&reason, lived) {
            (DisconnectReason::Stopped | DisconnectReason::StopUnconfirmed, _) => {}
            (_, None) => counters.connect_failures.add(1),
            (_, Some(_)) => counters.disconnects.add(1),
        }
        let node = Arc::clone(&self.address);
        self.shared.events.tell(Event::Disconnected {
            node,
            reason,
            connection_lost,
            finishes_unsent,
            retry_in,
        });
        self.shared.look_up.notify_one();
        retry_in
    }
}
