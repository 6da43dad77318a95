//! The wires by which a test reaches a connection's task: orders for an idle one, and the end of any.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc as blocking};
use std::time::Duration;

use tokio::sync::mpsc;

use super::script::Step;
use crate::board::lock;
use crate::kill::{self, Kill, Killed, Killer};

/// Steps for an idle connection. Executed only if the connection is idle when it takes them: whoever claims it first, the
/// connection to execute or the test to give up, decides.
pub(super) struct Order {
    pub(super) steps: Vec<Step>,
    claimed: Arc<AtomicBool>,
    done: blocking::Sender<()>,
}

impl Order {
    pub(super) fn report(self) {
        // The test may have stopped waiting.
        self.done.send(()).ok();
    }
}

/// The connection's side.
pub(super) struct Peer {
    pub(super) idle: Arc<AtomicBool>,
    pub(super) reset_on_next_use: Arc<AtomicBool>,
    pub(super) kill: Killed,
    orders: mpsc::UnboundedReceiver<Order>,
    peers: Arc<Peers>,
}

impl Peer {
    pub(super) async fn next_order(&mut self) -> Order {
        loop {
            match self.orders.recv().await {
                Some(order) if !order.claimed.swap(true, Ordering::SeqCst) => return order,
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }

    pub(super) fn forget(&self, number: u64) {
        self.peers.lock().remove(&number);
    }
}

struct Wire {
    idle: Arc<AtomicBool>,
    reset_on_next_use: Arc<AtomicBool>,
    killer: Killer,
    orders: mpsc::UnboundedSender<Order>,
}

/// All open connections of an endpoint, by number.
#[derive(Default)]
pub(super) struct Peers(Mutex<BTreeMap<u64, Wire>>);

/// How long an idle connection may take to begin its steps before it counts as busy.
const ORDER_PATIENCE: Duration = Duration::from_secs(1);

impl Peers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Wire>> {
        lock(&self.0)
    }

    pub(super) fn enter(self: &Arc<Self>, number: u64, idle: bool) -> Peer {
        let (orders_in, orders) = mpsc::unbounded_channel();
        let (killer, kill) = kill::switch();
        let wire = Wire {
            idle: Arc::new(idle.into()),
            reset_on_next_use: Arc::default(),
            killer,
            orders: orders_in,
        };
        let peer = Peer {
            idle: wire.idle.clone(),
            reset_on_next_use: wire.reset_on_next_use.clone(),
            kill,
            orders,
            peers: self.clone(),
        };
        self.lock().insert(number, wire);
        peer
    }

    pub(super) fn idle(&self) -> Vec<u64> {
        self.lock()
            .iter()
            .filter(|(_, wire)| wire.idle.load(Ordering::SeqCst))
            .map(|(number, _)| *number)
            .collect()
    }

    /// Has the idle ones among `numbers` execute `steps`, waits for all of them, and says how many did.
    pub(super) fn order(&self, numbers: &[u64], steps: &[Step]) -> usize {
        let mut waiting = Vec::new();
        for number in numbers {
            let peers = self.lock();
            let Some(wire) = peers.get(number).filter(|wire| wire.idle.load(Ordering::SeqCst)) else {
                continue;
            };
            let (done, finished) = blocking::channel();
            let claimed = Arc::new(AtomicBool::new(false));
            let order = Order { steps: steps.to_vec(), claimed: claimed.clone(), done };
            if wire.orders.send(order).is_ok() {
                waiting.push((finished, claimed));
            }
        }
        waiting.into_iter().filter(|(finished, claimed)| executed(finished, claimed)).count()
    }

    pub(super) fn reset_on_next_use(&self) -> usize {
        let peers = self.lock();
        peers.values().for_each(|wire| wire.reset_on_next_use.store(true, Ordering::SeqCst));
        peers.len()
    }

    pub(super) fn kill(&self, kill: Kill) -> usize {
        let peers = self.lock();
        peers.values().filter(|wire| wire.killer.kill(kill)).count()
    }
}

fn executed(finished: &blocking::Receiver<()>, claimed: &AtomicBool) -> bool {
    match finished.recv_timeout(ORDER_PATIENCE) {
        Ok(()) => true,
        Err(_) if !claimed.swap(true, Ordering::SeqCst) => false,
        // It had begun: wait for its end. A connection that ended meanwhile drops its order unexecuted.
        Err(_) => finished.recv().is_ok(),
    }
}
