//! Host names to addresses, without ever holding up the broker.
//!
//! `getaddrinfo` may block for half a minute and cannot be cancelled, so each lookup has a thread of its own that nothing waits for. There is at
//! most one per host: who asks while one runs joins it. And only so many run at once, the stuck ones included: whoever can make the broker ask
//! (a client that sends AUTH) must not be able to make threads without end. Who comes beyond that waits, for as long as the question may take.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Lookups at once, one for each host.
const LOOKUPS_MAX: usize = 8;

/// An `io::Error` cannot be cloned; several may get this one.
type Found = Result<Vec<IpAddr>, Arc<io::Error>>;

type Lookup = watch::Receiver<Option<Found>>;

/// The lookups under way. Clones share them.
#[derive(Clone)]
pub(super) struct Resolver {
    running: Rc<RefCell<HashMap<String, Lookup>>>,
    places: Arc<Semaphore>,
}

impl Resolver {
    pub(super) fn new() -> Self {
        Self { running: Rc::default(), places: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }

    /// Every address of `host`, in the order that the system prefers; an address in figures is its own answer. Safe to cancel.
    pub(super) async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let mut lookup = match self.running(host) {
            Some(lookup) => lookup,
            None => {
                let place =
                    Arc::clone(&self.places).acquire_owned().await.expect("the semaphore is never closed");
                // Another may have begun while this one waited.
                self.running(host).map_or_else(|| self.begin(host, place), Ok)?
            }
        };
        let found = match lookup.wait_for(Option::is_some).await {
            Ok(found) => found.clone().expect("waited for it to be there"),
            // The thread ended without an answer, so it panicked.
            Err(_) => Err(Arc::new(io::Error::other("the lookup broke off"))),
        };
        found.map_err(|error| io::Error::new(error.kind(), error.to_string()))
    }

    /// The lookup of `host` that runs; those that are done, or broke off, are forgotten.
    fn running(&self, host: &str) -> Option<Lookup> {
        let mut running = self.running.borrow_mut();
        running.retain(|_, lookup| lookup.borrow().is_none() && lookup.has_changed().is_ok());
        running.get(host).cloned()
    }

    fn begin(&self, host: &str, place: OwnedSemaphorePermit) -> io::Result<Lookup> {
        let (found, lookup) = watch::channel(None);
        let name = host.to_owned();
        thread::Builder::new().name("name lookup".to_owned()).spawn(move || {
            #[expect(
                clippy::disallowed_methods,
                reason = "it may block here: this thread is for nothing else"
            )]
            let addresses = std::net::ToSocketAddrs::to_socket_addrs(&(name.as_str(), 0));
            drop(place);
            let addresses = addresses.map(|all| all.map(|address| address.ip()).collect()).map_err(Arc::new);
            found.send_replace(Some(addresses));
        })?;
        self.running.borrow_mut().insert(host.to_owned(), lookup.clone());
        Ok(lookup)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn more_names_than_may_be_looked_up_at_once_wait_and_one_that_is_looked_up_is_joined() {
        let resolver = Resolver::new();
        let loopback = |found: io::Result<Vec<IpAddr>>| found.unwrap().iter().all(IpAddr::is_loopback);
        let place = Arc::clone(&resolver.places).try_acquire_owned().unwrap();
        let (stuck, lookup) = watch::channel(None);
        resolver.running.borrow_mut().insert("stuck.example".to_owned(), lookup);
        let others = Arc::clone(&resolver.places).try_acquire_many_owned(LOOKUPS_MAX as u32 - 1).unwrap();
        let waits = timeout(Duration::from_millis(50), resolver.addresses("localhost")).await;
        assert!(waits.is_err(), "there is no place for another");
        // One that runs needs no place.
        let (joined, ()) = tokio::join!(resolver.addresses("stuck.example"), async {
            stuck.send_replace(Some(Ok(vec![IpAddr::from([127, 0, 0, 1])])));
        });
        assert!(loopback(joined));
        assert!(loopback(resolver.addresses("[::1]").await), "no lookup, so no place");
        drop((place, others));
        let both = tokio::join!(resolver.addresses("localhost"), resolver.addresses("localhost"));
        assert!(loopback(both.0) && loopback(both.1));
        assert!(resolver.running("localhost").is_none(), "what is done is forgotten");
    }
}
