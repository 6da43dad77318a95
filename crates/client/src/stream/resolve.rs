//! Host names to addresses, without ever holding up a runtime.
//!
//! `getaddrinfo` blocks, for half a minute when no name server answers, and cannot be cancelled. tokio's own lookup runs it on a pool that a runtime waits for when it ends. Here each
//! lookup has a thread of its own that nothing waits for, and there is at most one per host: who asks while one runs joins it, and a dial that gave up leaves it to the next.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use tokio::sync::watch;

/// The lookups under way. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Resolver(Rc<RefCell<HashMap<String, watch::Receiver<Option<Found>>>>>);

/// An `io::Error` cannot be cloned; several dials may get this one.
type Found = Result<Vec<IpAddr>, Arc<io::Error>>;

impl Resolver {
    /// Every address of `host`, in the order that the system prefers; an address in figures is its own answer.
    pub(crate) async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let mut lookup = self.join_or_start(host)?;
        let found = match lookup.wait_for(Option::is_some).await {
            Ok(found) => found.clone().expect("waited for it to be there"),
            // The thread ended without an answer, so it panicked.
            Err(_) => Err(Arc::new(io::Error::other("the lookup broke off"))),
        };
        self.0.borrow_mut().retain(|_, lookup| lookup.borrow().is_none() && lookup.has_changed().is_ok());
        found.map_err(|error| io::Error::new(error.kind(), error.to_string()))
    }

    fn join_or_start(&self, host: &str) -> io::Result<watch::Receiver<Option<Found>>> {
        let mut running = self.0.borrow_mut();
        if let Some(lookup) = running.get(host).filter(|lookup| lookup.borrow().is_none()) {
            return Ok(lookup.clone());
        }
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
        })?;
        running.insert(host.to_owned(), lookup.clone());
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
        assert!(resolver.0.borrow().is_empty());
    }

    #[tokio::test]
    async fn a_name_is_looked_up_once_for_all_who_ask_at_once() {
        let resolver = Resolver::default();
        let first = resolver.join_or_start("localhost").unwrap();
        let second = resolver.join_or_start("localhost").unwrap();
        // Either the second joined, or the first was done before it could.
        assert!(first.same_channel(&second) || first.borrow().is_some());
        assert!(resolver.addresses("localhost").await.unwrap().iter().all(IpAddr::is_loopback));
        assert!(resolver.0.borrow().is_empty());
    }

    #[tokio::test]
    async fn a_lookup_that_never_answers_is_joined_by_the_next() {
        let resolver = Resolver::default();
        let (stuck, lookup) = watch::channel(None);
        resolver.0.borrow_mut().insert("stuck.example".to_owned(), lookup);
        let joined = resolver.join_or_start("stuck.example").unwrap();
        stuck.send_replace(Some(Ok(vec![])));
        assert!(joined.borrow().is_some());
    }
}
