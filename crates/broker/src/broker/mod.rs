//! The whole broker: opens the queue, listens, serves, and stops in an order that loses nothing.
//!
//! Everything runs as local tasks of the caller's `LocalSet`; other threads reach it by sockets, or by a [`Connector`].
//!
//! The order of a stop: publishes are refused and no connection is taken any more; the queue's last group commit is made; who waited for it is
//! answered, for `GRACE` at most; what is still open is closed, and with it what it had in flight is requeued.

mod connector;
mod door;
mod listen;
mod places;
#[cfg(test)]
mod power_cut;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};

use crate::advertised::{Advertised, Listening};
use crate::http::Api;
use crate::lookupd;
use crate::options::Options;
use crate::queue::{CloseError, OpenError, Queue};
use crate::settings::{Listen, Settings};
use crate::shared::BrokerShared;
use crate::tls::TlsError;
use door::{Door, Protocol};
use listen::Listener;
use places::Places;

pub use connector::Connector;
pub use listen::ListenError;
pub use places::ConnectionCounters;

/// How long connections have at a stop to write the answers of the last group commit.
const GRACE: Duration = Duration::from_millis(100);

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The queue cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The certificates do not serve.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// A task of the broker has ended that must not.
#[derive(Debug, thiserror::Error)]
#[error("{what} has ended, which is a defect: {how}")]
pub struct Failed {
    what: &'static str,
    how: String,
}

/// Why a broker's end was not a good one.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// The last sync failed.
    #[error(transparent)]
    Close(CloseError),
    /// There was nobody left to make it.
    #[error(transparent)]
    Failed(#[from] Failed),
}

/// Where the broker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// No connection is taken; those that are open go on.
    Closing,
    /// The last group commit was made.
    Closed,
}

/// A running broker. Dropped without [`stop`](Self::stop), it ends as by a crash: what was acknowledged is kept.
pub struct Broker {
    broker: Rc<BrokerShared>,
    addresses: Addresses,
    places: Rc<Places>,
    connector: Connector,
    phase: watch::Sender<Phase>,
    doors: Vec<JoinHandle<()>>,
    driver: JoinHandle<()>,
    cluster: JoinHandle<()>,
}

/// Where it listens, as bound: a port of 0 was replaced.
#[derive(Debug)]
struct Addresses {
    tcp: Listen,
    http: Listen,
    https: Listen,
}

/// The listeners, until they are served.
#[derive(Default)]
struct Listeners {
    tcp: Option<Listener>,
    http: Option<Listener>,
    https: Option<Listener>,
}

impl Broker {
    /// Opens the queue in [`Settings::data_path`] of `fs`, listens, and serves. To be called inside a `LocalSet`.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(settings: Settings, fs: Arc<dyn journal::FileSystem>) -> Result<Self, StartError> {
        let broker = open(settings, fs)?;
        let settings = &broker.settings;
        let https = if broker.tls.is_some() { &settings.https_address } else { &Listen::Off };
        let listeners = Listeners {
            tcp: Some(Listener::bind(&settings.tcp_address).await?),
            http: Listener::bind_unless_off(&settings.http_address).await?,
            https: Listener::bind_unless_off(https).await?,
        };
        Ok(Self::serve(broker, listeners))
    }

    /// As [`start`](Self::start), but listens nowhere: only its [`Connector`] leads to it.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start_unbound(settings: Settings, fs: Arc<dyn journal::FileSystem>) -> Result<Self, StartError> {
        let broker = open(settings, fs)?;
        Ok(Self::serve(broker, Listeners::default()))
    }

    fn serve(broker: Rc<BrokerShared>, listeners: Listeners) -> Self {
        let address = |listener: &Option<Listener>| listener.as_ref().map_or(Listen::Off, Listener::address);
        let addresses = Addresses {
            tcp: address(&listeners.tcp),
            http: address(&listeners.http),
            https: address(&listeners.https),
        };
        let socket = |listener: &Option<Listener>| listener.as_ref().and_then(Listener::socket_address);
        let listening = Listening {
            tcp: socket(&listeners.tcp),
            http: socket(&listeners.http),
            https: socket(&listeners.https),
        };
        let advertised = Rc::new(Advertised::new(&broker.settings, listening));
        let options = Rc::new(Options::new(&broker.settings));
        let driver = spawn_local(broker.queue.clone().run());
        let cluster =
            spawn_local(lookupd::run(Rc::clone(&broker), Rc::clone(&options), Rc::clone(&advertised)));
        let api = Rc::new(Api::new(Rc::clone(&broker), options, advertised));
        let places = Places::new(broker.settings.connections_max);
        let (phase, phases) = watch::channel(Phase::Serving);
        let (connector, pipes) = connector::pair();
        let tls = broker.tls.clone();
        let https = tls.map(|tls| Protocol::Https(Rc::clone(&api), tls.into()));
        let doors = [
            (listeners.tcp, Some(Protocol::Nsq(Rc::clone(&broker)))),
            (listeners.http, Some(Protocol::Http(Rc::clone(&api)))),
            (listeners.https, https),
            (Some(Listener::Pipe(pipes.nsq)), Some(Protocol::Nsq(Rc::clone(&broker)))),
            (Some(Listener::Pipe(pipes.http)), Some(Protocol::Http(api))),
        ];
        let open = |(listener, protocol): (Option<Listener>, Option<Protocol>)| {
            let door = Door { protocol: protocol?, places: Rc::clone(&places), phase: phases.clone() };
            Some(spawn_local(door.run(listener?)))
        };
        let doors = doors.into_iter().filter_map(open).collect();
        Self { broker, addresses, places, connector, phase, doors, driver, cluster }
    }

    /// Where TCP clients connect, as bound; nowhere when it was [started unbound](Self::start_unbound).
    pub fn tcp_address(&self) -> &Listen {
        &self.addresses.tcp
    }

    /// Where the HTTP API is, as bound.
    pub fn http_address(&self) -> &Listen {
        &self.addresses.http
    }

    /// Where it is over TLS; nowhere without a certificate.
    pub fn https_address(&self) -> &Listen {
        &self.addresses.https
    }

    /// Leads to this broker from any thread.
    pub fn connector(&self) -> Connector {
        self.connector.clone()
    }

    /// The queue itself.
    pub fn queue(&self) -> &Queue {
        &self.broker.queue
    }

    /// Connections, now and so far.
    pub fn connections(&self) -> ConnectionCounters {
        self.places.counters()
    }

    /// Waits until a task that all the others wait for has ended, which is a defect: nothing is acknowledged any more then, and nothing is
    /// registered. What was acknowledged is kept. It is then to be dropped, not to be stopped. Safe to cancel, and pending for as long as all is well.
    pub async fn failed(&mut self) -> Failed {
        let (what, ended) = tokio::select! {
            ended = &mut self.driver => ("the queue's driver", ended),
            ended = &mut self.cluster => ("the registration with nsqlookupd", ended),
        };
        Failed { what, how: ended.map_or_else(|error| error.to_string(), |()| "it ended".to_owned()) }
    }

    /// Stops, in the order at the top of this module.
    ///
    /// # Errors
    /// When the last sync failed: what was acknowledged is kept all the same.
    pub async fn stop(mut self) -> Result<(), StopError> {
        self.broker.queue.refuse_publishes();
        self.phase.send_replace(Phase::Closing);
        self.cluster.abort();
        let queue = self.broker.queue.clone();
        let closed = tokio::select! {
            biased;
            closed = queue.close() => closed.map_err(StopError::Close),
            // It ends with the close. One that ends before is a defect, and nobody else would make the last sync.
            ended = &mut self.driver => match ended {
                Ok(()) => queue.close().await.map_err(StopError::Close),
                Err(error) => Err(Failed { what: "the queue's driver", how: error.to_string() }.into()),
            },
        };
        self.phase.send_replace(Phase::Closed);
        for door in std::mem::take(&mut self.doors) {
            report(door.await);
        }
        closed
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.doors.iter().for_each(JoinHandle::abort);
        self.cluster.abort();
        self.driver.abort();
    }
}

/// A task of ours that panicked is a defect, and told as one; the others go on.
fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a task of the broker panicked");
    }
}

fn open(mut settings: Settings, fs: Arc<dyn journal::FileSystem>) -> Result<Rc<BrokerShared>, StartError> {
    if let Some(tls) = &mut settings.tls {
        tls.required = tls.required.under(tls.client_auth_policy);
    }
    settings.hold_new_topics |= !settings.lookupd_tcp_addresses.is_empty();
    // What it found it tells the log itself.
    let (queue, _) = Queue::open(fs, &settings)?;
    Ok(BrokerShared::new(settings, queue)?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::LocalSet;
    use tokio::time::timeout;

    use super::*;

    async fn unbound(test: impl AsyncFnOnce(Broker)) {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { data_path: folder.path().to_owned(), ..Settings::default() };
        let inside = async {
            let broker = Broker::start_unbound(settings, Arc::new(journal::Disk)).unwrap();
            test(broker).await;
        };
        timeout(Duration::from_secs(10), LocalSet::new().run_until(inside)).await.expect("it hangs");
    }

    #[tokio::test]
    async fn a_driver_that_panics_is_seen_and_does_not_hold_up_the_stop() {
        unbound(async |mut broker| {
            let well = timeout(Duration::from_millis(50), broker.failed()).await;
            assert!(well.is_err(), "{well:?}");
            std::mem::replace(&mut broker.driver, spawn_local(async { panic!("a defect") })).abort();
            let failed = broker.failed().await.to_string();
            assert!(failed.starts_with("the queue's driver has ended, which is a defect: task "), "{failed}");
        })
        .await;
        unbound(async |mut broker| {
            std::mem::replace(&mut broker.driver, spawn_local(async { panic!("a defect") })).abort();
            assert!(matches!(broker.stop().await, Err(StopError::Failed(_))));
        })
        .await;
    }
}
