//! Finding nsqds through nsqlookupd, for as long as the consumer lives.
//!
//! All nsqlookupds are asked side by side, and an nsqd is dialled as soon as the first of them lists it. One
//! that fails is asked again with the next poll; what it said before stands.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::event::Event;
use super::node;
use super::shared::Shared;
use crate::after::FAR_OFF;
use crate::dial::Dialer;
use crate::lookup::{Listing, Lookup, LookupError, Node};
use crate::reconnect::dice;

/// A connection that ends asks for a poll at once; connections that end in a row do not ask more often than
/// this.
const POLLS_APART: Duration = Duration::from_secs(1);

/// Nsqds taken from one answer. A cluster has some dozens; what is above this is a mistake, and each would be dialled.
const NSQDS_MAX: usize = 1_024;

/// Polls until a stop.
pub(super) async fn run(shared: Rc<Shared>, lookup: Lookup, dialer: Dialer) {
    let lookupds = lookup.addresses().len();
    let mut discovery = Discovery {
        shared: Rc::clone(&shared),
        dialer,
        listing: Listing::new(lookupds),
        works: vec![false; lookupds],
    };
    let polls = async {
        loop {
            let polled_at = Instant::now();
            let topic = shared.settings.topic.as_str();
            lookup
                .ask(topic, |index, answer| discovery.answered(&lookup.addresses()[index], index, answer))
                .await;
            let interval = jittered(shared.settings.lookup_interval, dice());
            tokio::select! {
                () = sleep(interval) => {}
                () = shared.look_up.notified() => sleep_until(polled_at + POLLS_APART.min(interval)).await,
            }
        }
    };
    tokio::select! {
        () = polls => {}
        () = shared.stop_begun() => {}
    }
}

/// ± 30 %, so that a fleet does not poll in step. `dice` is uniform in 0..1.
fn jittered(interval: Duration, dice: f64) -> Duration {
    interval.min(FAR_OFF).mul_f64(0.7 + 0.6 * dice)
}

struct Discovery {
    shared: Rc<Shared>,
    dialer: Dialer,
    listing: Listing,
    /// Whether each nsqlookupd answered the last time, so that only changes are told.
    works: Vec<bool>,
}

impl Discovery {
    fn answered(&mut self, lookupd: &str, index: usize, answer: Result<Vec<Node>, LookupError>) {
        let lookupd = lookupd.to_owned();
        let worked = std::mem::replace(&mut self.works[index], answer.is_ok());
        let mut nodes = match answer {
            Ok(nodes) => nodes,
            Err(error) => {
                self.shared.counters.lookup_failures.add(1);
                self.shared.events.tell(Event::LookupFailed { lookupd, error });
                return;
            }
        };
        if !worked {
            let lookupd = lookupd.clone();
            self.shared.events.tell(Event::LookupAnswered { lookupd, nodes: nodes.len() });
        }
        if nodes.len() > NSQDS_MAX {
            self.shared.events.tell(Event::TooManyListed { lookupd, nodes: nodes.len(), taken: NSQDS_MAX });
            // Always the same ones, whatever order they are listed in.
            nodes.sort_by_cached_key(Node::address);
            nodes.truncate(NSQDS_MAX);
        }
        let change = self.listing.record(index, nodes);
        for listed in change.listed {
            let address: Arc<str> = listed.address().into();
            self.shared.events.tell(Event::Listed { node: Arc::clone(&address) });
            node::want(&self.shared, &self.dialer, address);
        }
        for delisted in change.delisted {
            let address: Arc<str> = delisted.address().into();
            node::unwant(&self.shared, &address);
            self.shared.events.tell(Event::Delisted { node: address });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_come_three_tenths_early_or_late() {
        let seconds = |dice| jittered(Duration::from_secs(15), dice).as_secs_f64();
        for (dice, expected) in [(0.0, 10.5), (0.5, 15.0), (1.0, 19.5)] {
            assert!((seconds(dice) - expected).abs() < 0.001, "{dice}: {}", seconds(dice));
        }
        assert!(jittered(Duration::MAX, 1.0) > FAR_OFF);
    }
}
