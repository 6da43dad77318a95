//! How many connections of a pool there are. Every connection holds it, so that dropping one is counted wherever and
//! however that happens, and the pool hears of the place that became free.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::close_reason::CloseReason;
use crate::counters::EndpointCounters;
use crate::idle::Bell;

/// Connections of one pool.
pub(crate) struct Ledger {
    pub(crate) counters: Arc<EndpointCounters>,
    /// Wakes the pool's task.
    pub(crate) bell: Arc<Bell>,
    open: Cell<usize>,
    /// Tells those who wait for the last connection to close.
    emptied: Notify,
}

impl Ledger {
    pub(crate) fn new(counters: Arc<EndpointCounters>) -> Rc<Ledger> {
        Rc::new(Ledger { counters, bell: Arc::default(), open: Cell::new(0), emptied: Notify::new() })
    }

    /// Connections open now, idle or in use.
    pub(crate) fn open(&self) -> usize {
        self.open.get()
    }

    pub(crate) fn record_open(&self) {
        self.set_open(self.open.get() + 1);
        self.counters.opened.one();
    }

    pub(crate) fn record_close(&self, reason: CloseReason, requests: u64) {
        self.set_open(self.open.get() - 1);
        self.counters.closes[reason.index()].one();
        self.counters.requests_per_connection.record(requests);
        self.bell.ring();
        if self.open.get() == 0 {
            self.emptied.notify_waiters();
        }
    }

    /// Waits until no connection is open.
    pub(crate) async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.open.get() == 0 {
                return;
            }
            emptied.await;
        }
    }

    fn set_open(&self, open: usize) {
        self.open.set(open);
        self.counters.open.set(open as u64);
    }
}
