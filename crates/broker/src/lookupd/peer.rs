//! One nsqlookupd, kept told for as long as the broker lives.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::backoff::{Backoff, dice};
use super::connection::{Connection, PeerError};
use super::registrations::{self, Registrations};
use crate::advertised::Advertised;
use crate::outbound::Outbound;
use crate::queue::Queue;

/// nsqlookupd forgets who is silent for five minutes; nsqd speaks this often.
const PING_INTERVAL: Duration = Duration::from_secs(15);

/// One nsqlookupd.
pub(super) struct Peer {
    address: String,
    advertised: Rc<Advertised>,
    outbound: Outbound,
    /// Where its HTTP API is, as it last said. Kept while it is away: the other port may answer.
    http: RefCell<Option<String>>,
    changed: Notify,
    /// Whether the first dial has ended, well or not.
    tried: watch::Sender<bool>,
}

impl Peer {
    pub(super) fn new(address: String, advertised: Rc<Advertised>, outbound: Outbound) -> Self {
        Self {
            address,
            advertised,
            outbound,
            http: RefCell::default(),
            changed: Notify::new(),
            tried: watch::Sender::new(false),
        }
    }

    /// Its TCP address, as it was given.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Topics or channels have changed.
    pub(super) fn told(&self) {
        self.changed.notify_one();
    }

    /// Where its HTTP API is, once it is known or the first dial has failed.
    pub(super) async fn http_address(&self) -> Option<String> {
        let mut tried = self.tried.subscribe();
        tried.wait_for(|tried| *tried).await.ok()?;
        self.http.borrow().clone()
    }

    /// Dials again and again, for ever.
    pub(super) async fn run(self: Rc<Self>, queue: Queue) {
        let mut backoff = Backoff::default();
        loop {
            let Err(error) = self.session(&queue, &mut backoff).await;
            self.tried.send_replace(true);
            let delay = backoff.next(dice());
            tracing::warn!(nsqlookupd = self.address, %error, ?delay, "not registered: dialling again");
            sleep(delay).await;
        }
    }

    async fn session(&self, queue: &Queue, backoff: &mut Backoff) -> Result<Infallible, PeerError> {
        let (mut connection, info) =
            Connection::open(&self.address, &self.advertised, &self.outbound).await?;
        self.http.replace(info.http_address());
        self.tried.send_replace(true);
        tracing::info!(nsqlookupd = self.address, ?info, "registering");
        let mut registered = Registrations::new();
        let mut ping = interval(PING_INTERVAL);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wanted = registrations::of(queue);
            for step in registrations::steps(&registered, &wanted) {
                tracing::debug!(nsqlookupd = self.address, ?step);
                connection.command(&step.command()).await?;
            }
            registered = wanted;
            tokio::select! {
                () = self.changed.notified() => {}
                _tick = ping.tick() => {
                    connection.command(b"PING\n").await?;
                    backoff.reset();
                }
                ended = connection.ended() => return Err(ended),
            }
        }
    }
}
