//! The broker's place in a cluster: it registers with every nsqlookupd, and takes over the channels that they know of.
//!
//! What an nsqlookupd knows of this node is a set of topics and channels. Each [`peer`] compares what it has registered with what the queue has,
//! and says the difference: after a change, and whole after each connect. So nothing is queued for a peer that is away, and no order of changes
//! can leave it wrong.
//!
//! A topic made here may be known elsewhere. Its [`gate`] stays closed, and nothing is fanned out, until every nsqlookupd was asked for its
//! channels: else the first consumer of this node would get what the others' should have had too. A publish does not wait for that.

mod backoff;
mod connection;
mod gate;
mod peer;
mod registrations;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use tokio::task::{AbortHandle, JoinSet, spawn_local};

use crate::advertised::Advertised;
use crate::options::Options;
use crate::queue::Change;
use crate::shared::BrokerShared;
use peer::Peer;

/// New topics whose channels are asked for at once; the others' gates wait for them.
const GATES_OPENING_MAX: usize = 64;

/// Every nsqlookupd, by its TCP address, and the task that keeps it told.
#[derive(Default)]
struct Peers(RefCell<BTreeMap<String, (Rc<Peer>, AbortHandle)>>);

impl Peers {
    fn all(&self) -> Vec<Rc<Peer>> {
        self.0.borrow().values().map(|(peer, _)| Rc::clone(peer)).collect()
    }

    /// Those that `addresses` names and no others, each once.
    fn set(&self, addresses: &[String], broker: &Rc<BrokerShared>, advertised: &Rc<Advertised>) {
        let mut peers = self.0.borrow_mut();
        peers.retain(|address, (_, task)| {
            let stays = addresses.contains(address);
            if !stays {
                tracing::info!(nsqlookupd = address, "no longer registered with");
                task.abort();
            }
            stays
        });
        for address in addresses {
            peers.entry(address.clone()).or_insert_with(|| {
                let peer =
                    Rc::new(Peer::new(address.clone(), Rc::clone(advertised), broker.outbound.clone()));
                let task = spawn_local(Rc::clone(&peer).run(broker.queue.clone())).abort_handle();
                (peer, task)
            });
        }
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.0.borrow().values().for_each(|(_, task)| task.abort());
    }
}

/// Keeps every nsqlookupd told, and opens the gates of new topics. Ends with the queue.
pub(crate) async fn run(broker: Rc<BrokerShared>, options: Rc<Options>, advertised: Rc<Advertised>) {
    let peers = Peers::default();
    let set_peers = || {
        let addresses = options.lookupd_tcp_addresses().unwrap_or_default();
        broker.queue.set_hold_new_topics(!addresses.is_empty());
        peers.set(&addresses, &broker, &advertised);
    };
    set_peers();
    let mut changes = broker.queue.changes();
    let mut closed = VecDeque::from(broker.queue.gated_topics());
    let mut opening = JoinSet::new();
    loop {
        while opening.len() < GATES_OPENING_MAX
            && let Some(topic) = closed.pop_front()
        {
            opening.spawn_local(gate::open(topic, peers.all(), Rc::clone(&broker)));
        }
        tokio::select! {
            change = changes.recv() => match change {
                None => return,
                Some(change) => {
                    if let Change::TopicCreated(topic) = change {
                        closed.push_back(topic);
                    }
                    peers.all().iter().for_each(|peer| peer.told());
                }
            },
            () = options.lookupds_changed() => set_peers(),
            Some(_opened) = opening.join_next() => {}
        }
    }
}
