//! Host names to addresses, without ever holding up a runtime.
//!
//! `getaddrinfo` blocks, for half a minute when no name server answers, and cannot be cancelled. tokio's own lookup runs it on a pool that a runtime waits for when it ends. Here each
//! lookup has a thread of its own that nothing waits for, and there is at most one per host: who asks while one runs joins it, and a dial that gave up leaves it to the next.
//!
//! The names may come from nsqlookupd, as many as it likes, so only a few lookups run at once. The others wait in line, each for as long as its dial has time.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Threads that look names up, at most: so many dead names do not yet delay the others.
const THREADS_MAX: usize = 8;

/// The lookups under way. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Resolver(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    running: RefCell<HashMap<String, watch::Receiver<Option<Found>>>>,
    threads: Arc<Semaphore>,
}

impl Default for Resolver {
    fn default() -> Resolver {
        let threads = Arc::new(Semaphore::new(THREADS_MAX));
        Resolver(Rc::new(Inner { running: RefCell::default(), threads }))
    }
}

/// An `io::Error` cannot be cloned; several dials may get this one.
type Found = Result<Vec<IpAddr>, Arc<io::Error>>;

impl Resolver {
    /// Every address of `host`, in the order that the system prefers; an address in figures is its own answer.
    pub(crate) async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let mut lookup = match self.running(host) {
            Some(lookup) => lookup,
            None => {
                let turn = Arc::clone(&self.0.threads).acquire_owned().await.map_err(io::Error::other)?;
                // Another dial may have begun it meanwhile.
                self.running(host).map_or_else(|| self.begin(host, turn), Ok)?
            }
        };
        let found = match lookup.wait_for(Option::is_some).await {
            Ok(found) => found.clone().expect("waited for it to be there"),
            // The thread ended without an answer, so it panicked.
            Err(_) => Err(Arc::new(io::Error::other("the lookup broke off"))),
        };
        self.forget_ended();
        found.map_err(|error| io::Error::new(error.kind(), error.to_string()))
    }

    fn forget_ended(&self) {
        let mut running = self.0.running.borrow_mut();
        running.retain(|_, lookup| lookup.borrow().is_none() && lookup.has_changed().is_ok());
    }

    /// The lookup of this host that is under way.
    fn running(&self, host: &str) -> Option<watch::Receiver<Option<Found>>> {
        self.0.running.borrow().get(host).filter(|lookup| lookup.borrow().is_none()).cloned()
    }

    /// Starts one. Its turn ends with its thread, however long all who asked are gone by then.
    fn begin(&self, host: &str, turn: OwnedSemaphorePermit) -> io::Result<watch::Receiver<Option<Found>>> {
        self.forget_ended();
        let (found, lookup) = watch::channel(None);
        let name = host.to_owned();
        thread::Builder::new().name("name lookup".to_owned()).spawn(move || {
            #[expect(
                clippy::disallowed_methods,
                reason = "it may block here: this thread is for nothing else"
            )]
            let addresses = (name.as_str(), 0).to_socket_addrs();
            found.send_replace(Some(
                addresses.map(|all| all.map(|address| address.ip()).collect()).map_err(Arc::new),
            ));
            drop(turn);
        })?;
        self.0.running.borrow_mut().insert(host.to_owned(), lookup.clone());
        Ok(lookup)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_in_figures_starts_no_lookup() {
        let resolver = Resolver::default();
        assert_eq!(resolver.addresses("127.0.0.1").await.unwrap(), ["127.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(resolver.addresses("::1").await.unwrap(), ["::1".parse::<IpAddr>().unwrap()]);
        assert!(resolver.0.running.borrow().is_empty());
    }

    fn turn(resolver: &Resolver) -> OwnedSemaphorePermit {
        Arc::clone(&resolver.0.threads).try_acquire_owned().expect("a thread is free")
    }

    #[tokio::test]
    async fn a_name_is_looked_up_once_for_all_who_ask_at_once() {
        let resolver = Resolver::default();
        let first = resolver.begin("localhost", turn(&resolver)).unwrap();
        // Either the second joins, or the first was done before it could.
        assert!(
            resolver.running("localhost").is_some_and(|second| first.same_channel(&second))
                || first.borrow().is_some()
        );
        assert!(resolver.addresses("localhost").await.unwrap().iter().all(IpAddr::is_loopback));
        assert!(resolver.0.running.borrow().is_empty());
    }

    #[tokio::test]
    async fn a_lookup_that_never_answers_is_joined_by_the_next() {
        let resolver = Resolver::default();
        let (stuck, lookup) = watch::channel(None);
        resolver.0.running.borrow_mut().insert("stuck.example".to_owned(), lookup);
        let joined = resolver.running("stuck.example").unwrap();
        stuck.send_replace(Some(Ok(vec![])));
        assert!(joined.borrow().is_some());
    }

    #[tokio::test]
    async fn a_thousand_names_take_a_few_threads() {
        let resolver = Resolver::default();
        // As a lookup is, that no name server answers.
        let held_up: Vec<_> = (1..THREADS_MAX).map(|_| turn(&resolver)).collect();
        let asks = tokio::task::LocalSet::new();
        for n in 0..1_000 {
            let resolver = resolver.clone();
            asks.spawn_local(async move { resolver.addresses(&format!("nsqd-{n}.invalid")).await });
        }
        asks.run_until(async {
            for _ in 0..20 {
                tokio::task::yield_now().await;
                let running = resolver.0.running.borrow().len();
                assert!(running <= 1, "{running} at once, and one thread is free");
            }
        })
        .await;
        drop((asks, held_up));
        assert!(resolver.addresses("localhost").await.is_ok(), "who gave up is in nobody's way");
    }
}
